"""The HTTP API, version 1: an application of its own below ``/api/v1``, described by OpenAPI."""

from service.web.api.app import create_api

__all__ = ["create_api"]
