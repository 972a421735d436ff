# Demo and tests in a container, on any machine that has Docker:
#     docker build -t mptq-export .
#     docker run --rm mptq-export                    the demo, then the fast tests
#     docker run --rm -v "$PWD:/data" mptq-export mptq-export /data/model.pt --calib /data/images -o /data/model.onnx
#
# PyPI's torch for Linux brings 4 GB of CUDA libraries, which nothing here uses. With the index that PyTorch's page on
# installing gives for CPUs the image is that much smaller:
#     docker build --build-arg PIP_EXTRA_INDEX_URL=... -t mptq-export .
FROM python:3.12-slim

# g++: a test compiles the C++ runner of a kit.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*

ARG PIP_EXTRA_INDEX_URL=
ENV PIP_EXTRA_INDEX_URL=$PIP_EXTRA_INDEX_URL PIP_NO_CACHE_DIR=1 PATH=/mptq-export/.venv/bin:$PATH
WORKDIR /mptq-export
COPY . .
RUN make .venv/installed-dev
CMD ["sh", "-c", "make demo && make test"]
