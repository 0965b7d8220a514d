# LLMLab in a container: built in one stage, run in another without compilers. There is no PostgreSQL inside: the container needs
# DATABASE_URL and SECRET_KEY.
#
#   docker build -t llmlab .
#   docker run -p 8000:8000 -e DATABASE_URL=postgresql://user:password@host/llmlab -e SECRET_KEY=$(openssl rand -hex 32) llmlab
#
# It runs with a read-only file system and without capabilities: --read-only --cap-drop ALL --security-opt no-new-privileges

FROM debian:12-slim AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	gcc libc6-dev cmake ninja-build pkg-config libmicrohttpd-dev libjansson-dev libpq-dev libjwt-dev libargon2-dev \
	libcurl4-openssl-dev libssl-dev zlib1g-dev uthash-dev python3-yaml && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY include include
COPY docs/openapi.yaml docs/openapi.yaml
COPY scripts/openapi_json.py scripts/openapi_json.py
COPY sql sql
COPY src src
RUN cmake --preset release -DLLMLAB_TESTS=OFF && cmake --build build/release --target llmlab && strip build/release/llmlab

FROM debian:12-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
	libmicrohttpd12 libjansson4 libpq5 libjwt0 libargon2-1 libcurl4 libssl3 zlib1g tzdata ca-certificates && \
	rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/llmlab /usr/local/bin/llmlab
USER 10001:10001
WORKDIR /tmp
ENV PORT=8000 LOG_FORMAT=json
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s CMD ["llmlab", "healthcheck"]
ENTRYPOINT ["llmlab"]
CMD ["serve"]
