import { describe, expect, it } from "vitest";
import { NokmodError } from "../../src/core/errors.ts";
import { enterError, Namespaces } from "../../src/runtime/namespaces.ts";
import { EACCES, EMFILE, ENOENT, EPERM } from "../../src/uapi/errno.ts";

/** An error as node:fs throws it: libuv's errno is negative. */
const failed = (code: string, errno: number): Error =>
  Object.assign(new Error(`${code}: open`), { code, errno: -errno, syscall: "open" });
/** What withNetns() throws when a system call of native/src/netns.cc fails. */
const notEntered = (code: string, errno: number): NokmodError =>
  new NokmodError("ERR_NETNS", "cannot enter", { cause: Object.assign(new Error("setns"), { code, errno }) });

describe("answer to a client whose namespace cannot be entered", () => {
  it.each([
    ["open: EACCES", failed("EACCES", EACCES), EPERM],
    ["open: EPERM", failed("EPERM", EPERM), EPERM],
    ["open: EMFILE", failed("EMFILE", EMFILE), EMFILE],
    ["open: ENFILE", failed("ENFILE", 23), EMFILE],
    ["open: ENOENT", failed("ENOENT", ENOENT), ENOENT],
    ["setns: EPERM", notEntered("EPERM", EPERM), EPERM],
    ["setns: EINVAL", notEntered("EINVAL", 22), EPERM],
    ["open in native code: EMFILE", notEntered("EMFILE", EMFILE), EMFILE],
  ])("%s", (_what, error, errno) => {
    expect(enterError(error)).toMatchObject({ code: "ERR_ERRNO", errno });
  });

  it("a fault of the program stays what it is", () => {
    const fault = new TypeError("x is not a function");
    expect(enterError(fault)).toBe(fault);
  });

  it("a namespace that is not there is ENOENT, and none is made", () => {
    const namespaces = new Namespaces(() => expect.fail("made"));
    expect(() => namespaces.enter(1, "/nonexistent/ns")).toThrow(expect.objectContaining({ errno: ENOENT }));
    expect(namespaces.size).toBe(0);
  });
});
