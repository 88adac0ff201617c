# syntax=docker/dockerfile:1
# One image for the API and the worker: the command decides. PostgreSQL is outside (REGATTA_DATABASE_URL).

FROM python:3.11-slim-bookworm AS build
WORKDIR /app
COPY . .
# The same bootstrap as on a developer's machine: locked versions, hashes enforced, without what only development
# needs. An index other than the public one: docker build --secret id=pip_conf,src=pip.conf …
RUN --mount=type=cache,target=/root/.cache/uv \
    --mount=type=secret,id=pip_conf,target=/etc/pip.conf \
    UV_LINK_MODE=copy python -m scripts.bootstrap --runtime \
    && rm -rf .tools

FROM python:3.11-slim-bookworm
# A fixed number, so that a mounted volume can be given to it.
RUN useradd --system --uid 10001 --create-home --home-dir /home/regatta regatta \
    && install -d -o regatta -g regatta /var/lib/regatta
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REGATTA_DATA_DIR=/var/lib/regatta
USER regatta
WORKDIR /app
EXPOSE 8000
# For the API; a worker answers no HTTP and switches this off (compose.yaml).
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
# A container's own loopback reaches nobody, hence --host; who may connect is decided where the port is published.
CMD ["regatta", "serve", "--workers", "0", "--host", "0.0.0.0", "--insecure"]
