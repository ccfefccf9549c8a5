# syntax=docker/dockerfile:1
# Two images from one file:
#   docker build --target api    -t rlaif-api .       API, migrations, client: no torch and no Celery
#   docker build --target worker -t rlaif-worker .    io and gpu workers; CUDA torch (RLAIF_TORCH=cpu for a CPU image)
# Every RUN that installs is scripts/install.sh, which `make setup` runs too.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS source
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE alembic.ini ./
COPY scripts scripts
COPY requirements requirements
COPY app app
COPY workers workers
COPY cli cli
COPY migrations migrations

FROM source AS api-build
RUN scripts/install.sh api /opt/rlaif

FROM source AS worker-build
ARG RLAIF_TORCH=cuda
ENV RLAIF_TORCH=${RLAIF_TORCH}
RUN scripts/install.sh worker /opt/rlaif

FROM ${PYTHON_IMAGE} AS runtime
RUN groupadd --gid 10001 rlaif && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp rlaif \
    && install -d -o rlaif -g rlaif /var/lib/rlaif /var/tmp/rlaif
ENV PATH=/opt/rlaif/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp TMPDIR=/var/tmp/rlaif \
    RLAIF_ARTIFACTS_DIR=/var/lib/rlaif RLAIF_HOST=0.0.0.0 RLAIF_PORT=8000
VOLUME /var/lib/rlaif /var/tmp/rlaif
USER 10001:10001
ENTRYPOINT ["rlaif"]

FROM runtime AS api
COPY --from=api-build /opt/rlaif /opt/rlaif
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["rlaif", "health"]
CMD ["serve"]

FROM runtime AS worker
COPY --from=worker-build /opt/rlaif /opt/rlaif
ENV OMP_WAIT_POLICY=PASSIVE HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
CMD ["worker", "--queues", "gpu"]
