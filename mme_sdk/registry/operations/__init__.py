"""Operations of the registry, as flows."""
