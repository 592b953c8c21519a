"""Operations on a registry, as generators of effects."""
