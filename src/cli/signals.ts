/**
 * Ignores SIGUSR1. Without a listener Node opens its inspector on that signal: a debugger for everybody in the network
 * namespace. main.ts imports this file before any other.
 */
process.on("SIGUSR1", () => {});
