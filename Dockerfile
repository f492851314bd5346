# SPDX-License-Identifier: Apache-2.0
# docker build -t bidhall .      docker run -p 8080:8080 bidhall
#
# BASE is any image of Debian's family; what it lacks of Python 3.11 or later is installed with apt.
ARG BASE=python:3.12-slim-bookworm

FROM ${BASE} AS python
RUN command -v python3 >/dev/null || { \
        apt-get update -q && apt-get install -qy --no-install-recommends python3 && apt-get clean && \
        rm -rf /var/lib/apt/lists/*; }

FROM python AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN set -eu; tools="gcc libc6-dev"; \
    [ "$(command -v python3)" != /usr/bin/python3 ] || tools="$tools python3-dev python3-venv"; \
    apt-get update -q; apt-get install -qy --no-install-recommends $tools; apt-get clean; rm -rf /var/lib/apt/lists/*
# The image carries no installer: the builder's pip fills an environment that has none.
RUN python3 -m venv /opt/builder && python3 -m venv --without-pip /opt/bidhall
WORKDIR /build
COPY pyproject.toml setup.py MANIFEST.in LICENSE README.md ./
COPY cython_core cython_core
COPY src src
ARG BIDHALL_MARCH=x86-64-v2
RUN set -eu; [ "$(uname -m)" = x86_64 ] || export BIDHALL_MARCH=; \
    /opt/builder/bin/pip install "setuptools>=77" wheel "Cython>=3.1"; \
    /opt/builder/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .; \
    /opt/builder/bin/pip --python /opt/bidhall/bin/python install /wheels/*.whl; \
    cd /opt/bidhall; find . -type d -name tests -path '*/site-packages/*' -prune -exec rm -rf {} +; \
    find . -path '*/bidhall/core/*.so' -exec strip --strip-debug {} +; \
    install -d -o 10001 -g 10001 -m 0750 /data

FROM python
LABEL org.opencontainers.image.title="bidhall" org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.description="A spot exchange in the dialect of the Binance Spot API"
COPY --from=build /opt/bidhall /opt/bidhall
COPY --from=build --chown=10001:10001 /data /data
ENV PATH=/opt/bidhall/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    BIDHALL_HOST=0.0.0.0 BIDHALL_LOG=sqlite:////data BIDHALL_FOLDER=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "bidhall", "health"]
ENTRYPOINT ["bidhall"]
CMD ["serve", "--demo"]
