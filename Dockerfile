# One image for web, workers and beat; docker-compose.yml says what each container runs.
FROM python:3.12-slim AS build
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /opt/key-manager \
 && /opt/key-manager/bin/python -m pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt

FROM python:3.12-slim
# The number matters to whoever hands secret files to the container: they must be readable by 10001 only.
RUN groupadd --gid 10001 keymanager \
 && useradd --uid 10001 --gid 10001 --create-home --home-dir /var/lib/keymanager --shell /usr/sbin/nologin keymanager
COPY --from=build /opt/key-manager /opt/key-manager
ENV PATH=/opt/key-manager/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    KEYMANAGER_DATA_DIR=/var/lib/keymanager \
    KEYMANAGER_STATIC_ROOT=/app/static-root
WORKDIR /app
COPY manage.py ./
COPY deploy deploy
COPY audit audit
COPY cryptosources cryptosources
COPY keymanager keymanager
COPY keys keys
COPY licensing licensing
COPY sandbox sandbox
COPY secretstore secretstore
COPY static static
COPY templates templates
RUN KEYMANAGER_SECRET_KEY=collectstatic python manage.py collectstatic --noinput --skip-checks
USER 10001:10001
EXPOSE 8000
ENTRYPOINT ["sh", "deploy/entrypoint"]
CMD ["granian", "--interface", "wsgi", "--host", "0.0.0.0", "--port", "8000", "--workers", "2", "--blocking-threads", "4", "keymanager.wsgi:application"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=40s --retries=3 CMD ["python", "deploy/healthcheck.py", "web"]
