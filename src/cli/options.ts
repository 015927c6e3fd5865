import { Option } from "commander";

/** Collects the values of an option that may be given several times. */
export const repeatable = (value: string, before: string[] | undefined): string[] => [...(before ?? []), value];

/** `--socket <path>`: the server's socket; default $NOKMOD_SOCKET, then the path of docs/transport.md. */
export const socketOption = (): Option => new Option("--socket <path>", "where nokmod listens").env("NOKMOD_SOCKET");

/** `--json`: output for programs. */
export const jsonOption = (): Option => new Option("--json", "print JSON");
