#!/bin/sh
# Rebuilds app/static/graphiql from scripts/graphiql. Needs Node 20 or later; running and testing Regatta do not.
set -eu
cd "$(dirname "$0")/graphiql"
npm ci --ignore-scripts
static=../../app/static/graphiql
mkdir -p "$static"
rm -rf "$static/assets" "$static/index.html" "$static/LICENSES.txt" # not operations/: those are written by hand
npx --no-install vite build
du -sh "$static"
