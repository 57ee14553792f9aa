"""What every table shares: naming of constraints, types of columns."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Date, DateTime, LargeBinary, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB, REAL
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it from the class)
        datetime: DateTime(timezone=True),
        date: Date(),
        str: Text(),
        bytes: LargeBinary(),
        list[str]: ARRAY(Text()),
        list[int]: ARRAY(BigInteger()),
        list[float]: ARRAY(REAL()),
        dict[str, Any]: JSONB(),
    }


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    values = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({values})", name=column)
