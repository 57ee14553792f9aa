# One image for every process: web, worker, beat, migrate. It runs as an unprivileged user, on a read-only file system
# with a writable /data and /tmp. What it stands on is pinned by digest; `make pin-images` takes in what was mended since.
FROM python:3.13-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8 AS build
WORKDIR /app
RUN python -m venv /venv
# With the extra `traces`: it does nothing until OTEL_EXPORTER_OTLP_ENDPOINT is set, and is not even imported.
COPY requirements-traces.lock .
RUN /venv/bin/pip install --no-cache-dir --require-hashes -r requirements-traces.lock
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY workers workers
COPY templates templates
COPY translations translations
RUN /venv/bin/pip install --no-cache-dir --no-deps --editable . && /venv/bin/python -m compileall -q service workers

FROM python:3.13-slim-bookworm@sha256:67a1e1f215ccda113cfc024e8639049257e88f273898f595b61476d128d387e8
RUN useradd --system --uid 10001 --create-home --home-dir /data paperround
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PAPERROUND_HOME=/data PAPERROUND_HOST=0.0.0.0
USER paperround
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["paperround"]
CMD ["web"]
