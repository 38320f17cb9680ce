# umbel in a container: one image for the server, the clients, the run and its pages.
#
#   docker build --tag umbel .
#   docker run --rm umbel simulate examples/digits.toml
#
# What changes seldom comes first: after a change of umbel's own code only the last layers are
# built anew.
FROM python:3.11-slim AS requirements
COPY pyproject.toml containers/requirements.py ./
# Extras of umbel's to put into the image, as "graph" or "graph text".
ARG EXTRAS=""
RUN python requirements.py pyproject.toml $EXTRAS >/requirements.txt

FROM python:3.11-slim

ENV PATH=/opt/umbel/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1

# Nobody's data or key belongs to root. The folders are where volumes are mounted: an empty
# volume takes its owner from them.
RUN useradd --uid 10001 --user-group --create-home umbel \
    && python -m venv /opt/umbel \
    && mkdir /umbel && cd /umbel \
    && mkdir -p certs data key plan pool runs state \
        keys/authority keys/run keys/client-0 keys/client-1 keys/client-2 keys/pool \
        shards/client-0 shards/client-1 shards/client-2 shards/pool \
    && chown -R umbel:umbel /umbel

WORKDIR /src
# An index of PyTorch's CPU builds, for those who reach one: a third of the size of the default.
ARG TORCH_INDEX=""
COPY constraints.txt ./
COPY --from=requirements /requirements.txt ./
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --constraint constraints.txt --index-url "$TORCH_INDEX" torch; \
    fi \
    && pip install --constraint constraints.txt --requirement requirements.txt setuptools

COPY . .
RUN pip install --no-deps --no-build-isolation . && rm -rf build ./*.egg-info
# Bundled data sets to put into the image beside digits, as "mnist optdigits".
ARG DATASETS=""
RUN for set in $DATASETS; do umbel data fetch "$set"; done

USER umbel
WORKDIR /umbel
ENTRYPOINT ["umbel"]
CMD ["--help"]
HEALTHCHECK --interval=30s --timeout=10s CMD ["python", "/src/containers/health.py"]
