# gpak as a service, without root and with nothing to write to but /data and /work.
#
#   docker build -t gpak .
#   docker run --read-only --tmpfs /tmp -p 127.0.0.1:4725:4725 -v gpak-data:/data -v "$PWD":/work gpak
#
# The first start prints a link to sign in with; `docker exec NAME gpak serve keys add` makes a key.

FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked -p gpak-cli && cp target/release/gpak /gpak

FROM debian:trixie-slim
# Certificates, for models behind HTTPS; git and bash, which runs are likely to want.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --home-dir /home/gpak gpak \
 && install -d -o gpak -g gpak /data /work
COPY --from=build /gpak /usr/local/bin/gpak
USER 10001:10001
ENV GPAK_HOME=/data GPAK_LOG_FORMAT=json
WORKDIR /work
VOLUME ["/data", "/work"]
EXPOSE 4725
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/4725; printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; head -1 <&3 | grep -q 200"]
ENTRYPOINT ["gpak"]
# The container's own address is reached from outside it: publish it on 127.0.0.1, or give TLS files in place
# of --plain.
CMD ["serve", "--listen", "0.0.0.0:4725", "--plain"]
