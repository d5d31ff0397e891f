# The relay in a container. Configuration, policies, certificates and keys are mounted into /etc/sealpost, the data folder into
# /var/lib/sealpost; nothing else is written, so run it with --read-only. docs/hardening.md has the command.
FROM node:24-bookworm-slim AS build
WORKDIR /opt/sealpost
COPY package.json package-lock.json tsconfig.json tsconfig.build.json ./
COPY src ./src
RUN npm ci --no-audit --no-fund && npm prune --omit=dev --no-audit --no-fund

FROM node:24-bookworm-slim
RUN mkdir -m 0700 /var/lib/sealpost && chown node:node /var/lib/sealpost && ln -s /opt/sealpost/bin/sealpost /usr/local/bin/sealpost
WORKDIR /opt/sealpost
COPY --from=build /opt/sealpost/node_modules ./node_modules
COPY --from=build /opt/sealpost/dist ./dist
COPY package.json LICENSE README.md ./
COPY bin ./bin
COPY contrib/healthcheck.js ./contrib/
USER node
ENV SEALPOST_QUEUE__SQLITE=/var/lib/sealpost/queue.sqlite SEALPOST_AUDIT=/var/lib/sealpost/audit.jsonl
VOLUME /var/lib/sealpost
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["node", "/opt/sealpost/contrib/healthcheck.js"]
ENTRYPOINT ["node", "/opt/sealpost/bin/sealpost", "-c", "/etc/sealpost/sealpost.yaml"]
CMD ["serve"]
