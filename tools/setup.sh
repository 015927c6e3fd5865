# Sourced by tools/demo and tools/test: brings what is missing and skips what is there.
# Sets nothing but NOKMOD_ROOT; stops the caller with a clear message when something can't be had.

NOKMOD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$NOKMOD_ROOT" || exit 1

say() { if [ -t 2 ]; then printf '\033[2m[setup]\033[0m %s\n' "$*" >&2; else printf '[setup] %s\n' "$*" >&2; fi; }
fail() { printf '[setup] %s\n' "$*" >&2; exit 1; }

# need_node: Node 20 or newer, with npm.
need_node() {
  command -v node >/dev/null && command -v npm >/dev/null || fail "Node.js 20 or newer with npm is needed: https://nodejs.org"
  local major
  major=$(node -p 'process.versions.node.split(".")[0]')
  [ "$major" -ge 20 ] || fail "Node.js 20 or newer is needed; this is $(node --version)"
}

# need_packages COMMAND=PACKAGE …: installs the Debian packages whose command (or, with a leading /, file) is missing.
need_packages() {
  local missing=() pair what
  for pair in "$@"; do
    what=${pair%%=*}
    case $what in
      /*) [ -e "$what" ] || missing+=("${pair#*=}") ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "$what" >/dev/null || missing+=("${pair#*=}") ;;
    esac
  done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    say "installing Debian packages: ${missing[*]}"
    [ -n "$(ls -A /var/lib/apt/lists 2>/dev/null | grep -v -e lock -e partial)" ] || apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
      { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null; } ||
      fail "could not install ${missing[*]}"
  else
    fail "these Debian packages are missing: ${missing[*]}  (as root: apt-get install ${missing[*]})"
  fi
}

# need_modules: npm packages and the native addon.
need_modules() {
  if [ ! -e node_modules/.nokmod-installed ] || [ package-lock.json -nt node_modules/.nokmod-installed ]; then
    say "installing npm packages and building the native addon (a minute)"
    # Not `npm ci`: it refuses a lock file without the packages of other platforms, which not every registry mirror has.
    npm install --no-save --no-audit --no-fund --loglevel=error || fail "npm install failed"
    touch node_modules/.nokmod-installed
  elif [ ! -e build/Release/nokmod_native.node ] ||
    [ -n "$(find binding.gyp native -newer build/Release/nokmod_native.node -type f 2>/dev/null | head -1)" ]; then
    say "building the native addon"
    npm run -s build:native >build.log 2>&1 || { tail -30 build.log >&2; fail "the native build failed"; }
  fi
}
