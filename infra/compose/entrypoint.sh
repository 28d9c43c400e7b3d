#!/bin/sh
# Set the variables for the jars and Java of this image, and those of the Flink scripts, then exec the command.
set -eu

jars() {
  find "/opt/dualcast/jars/$1" -name '*.jar' 2>/dev/null | sort | paste -sd, -
}

export DUALCAST_FLINK_JARS="${DUALCAST_FLINK_JARS:-$(jars flink)}"
export DUALCAST_SPARK_JARS="${DUALCAST_SPARK_JARS:-$(jars spark)}"
if command -v java >/dev/null; then
  JAVA_HOME="$(dirname "$(dirname "$(readlink -f "$(command -v java)")")")"
  export JAVA_HOME DUALCAST_JAVA_HOME="$JAVA_HOME"
fi

case "${1:-}" in
  flink-jobmanager | flink-taskmanager)
    role="${1#flink-}"
    shift
    FLINK_HOME="$(python -c 'import pathlib, pyflink; print(pathlib.Path(pyflink.__file__).parent)')"
    # The package folder is read-only, but the Flink scripts write to their configuration folder.
    export FLINK_HOME FLINK_CONF_DIR=/tmp/flink-conf FLINK_LIB_DIR=/tmp/flink-lib FLINK_LOG_DIR=/tmp/flink-log
    mkdir -p "$FLINK_CONF_DIR" "$FLINK_LIB_DIR" "$FLINK_LOG_DIR"
    cp "$FLINK_HOME"/conf/* "$FLINK_CONF_DIR"
    ln -sf "$FLINK_HOME"/lib/*.jar "$FLINK_HOME"/opt/flink-python-*.jar /opt/dualcast/jars/flink/*.jar "$FLINK_LIB_DIR"
    exec "$FLINK_HOME/bin/$role.sh" start-foreground "$@"
    ;;
esac
exec "$@"
