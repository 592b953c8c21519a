"""Operations on endpoints, as generators of effects."""
