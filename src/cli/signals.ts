/**
 * Imported before anything else by main.ts. Node opens its inspector, a debugger for everybody in the network namespace,
 * when SIGUSR1 comes and nobody listens for it; a listener takes that action's place for as long as the process runs.
 */
process.on("SIGUSR1", () => {});
