# Two images from one file: `--target service` answers predictions and holds no torch; `--target trainer` trains and
# publishes. The virtual environments come from their own build stages, so neither image holds what built it.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
# PIP_ARGS: more arguments for pip, such as --extra-index-url; deploy/wheels: wheels to install without asking an index.
ARG PIP_ARGS=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/nalu
COPY deploy/wheels /wheels
COPY pyproject.toml constraints.txt deploy/requirements.py ./

FROM build AS build-service
# EXTRAS: further extras of the service's image, such as `otel`.
ARG EXTRAS=""
RUN python3 requirements.py serve grpc ${EXTRAS} > requirements.txt \
    && /opt/build/bin/pip --python /opt/nalu/bin/python install --find-links /wheels ${PIP_ARGS} -c constraints.txt -r requirements.txt
COPY README.md LICENSE nalu_cli.py ./
COPY models models
COPY service service
COPY training training
RUN /opt/build/bin/pip --python /opt/nalu/bin/python install --find-links /wheels ${PIP_ARGS} --no-deps .

FROM ${PYTHON_IMAGE} AS runtime
# A tmpfs mounted on /work is root's and, with some runtimes, takes over this mode in place of its own.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin nalu \
    && mkdir --mode 1777 /work
# A volume that is empty when it is first mounted on /models takes over the starter models, and their owner.
COPY --chown=10001:10001 model_repository /models
ENV PATH=/opt/nalu/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NALU_MODEL_REPOSITORY=/models
WORKDIR /work
USER 10001:10001

FROM runtime AS service
COPY --from=build-service /opt/nalu /opt/nalu
COPY deploy/healthcheck.py /opt/nalu/healthcheck.py
ENV NALU_GRPC_PORT=8001
EXPOSE 8000 8001
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/opt/nalu/healthcheck.py"]
CMD ["nalu", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM build AS build-trainer
RUN python3 requirements.py train > requirements.txt \
    && /opt/build/bin/pip --python /opt/nalu/bin/python install --find-links /wheels ${PIP_ARGS} -c constraints.txt -r requirements.txt
COPY README.md LICENSE nalu_cli.py ./
COPY models models
COPY service service
COPY training training
RUN /opt/build/bin/pip --python /opt/nalu/bin/python install --find-links /wheels ${PIP_ARGS} --no-deps .

FROM runtime AS trainer
COPY --from=build-trainer /opt/nalu /opt/nalu
ENV MPLCONFIGDIR=/tmp/matplotlib
CMD ["nalu", "train", "--help"]
