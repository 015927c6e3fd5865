import { readdir, readFile, readlink } from "node:fs/promises";
import { systemErrorCode } from "../core/errors.ts";

/**
 * Whether something other than this process keeps a network namespace alive: a process in it, a mount of it (`ip netns`), or
 * an open descriptor. Looks at the processes of this process's pid namespace and at their mounts.
 * Reads `/proc` asynchronously, so that packets are switched between two reads.
 * @param inode of the namespace
 * @param proc default `/proc`
 */
export async function isNetnsUsed(inode: number, proc = "/proc"): Promise<boolean> {
  const name = `net:[${inode}]`;
  const own = String(process.pid);
  const processes = (await readdir(proc)).filter((entry) => /^\d+$/.test(entry) && entry !== own);
  for (const pid of processes) if ((await unlessGone(readlink(`${proc}/${pid}/ns/net`))) === name) return true;
  // Root of the mount is the fourth field of a line (proc(5), mountinfo); each mount namespace is read once.
  const seen = new Set<string>();
  for (const pid of [own, ...processes]) {
    const mounts = await unlessGone(readlink(`${proc}/${pid}/ns/mnt`));
    if (mounts === undefined || seen.has(mounts)) continue;
    seen.add(mounts);
    const text = await unlessGone(readFile(`${proc}/${pid}/mountinfo`, "utf8"));
    if (text?.split("\n").some((line) => line.split(" ", 4)[3] === name)) return true;
  }
  for (const pid of processes) {
    for (const fd of (await unlessGone(readdir(`${proc}/${pid}/fd`))) ?? []) {
      if ((await unlessGone(readlink(`${proc}/${pid}/fd/${fd}`))) === name) return true;
    }
  }
  return false;
}

/** ENOENT, ESRCH: the process or descriptor has ended. EACCES, EPERM: another user's, that this process may not read. */
const GONE = new Set(["ENOENT", "ESRCH", "EACCES", "EPERM"]);

/** The result of a read, or undefined where the file is gone or unreadable (GONE). */
async function unlessGone<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    if (GONE.has(systemErrorCode(error) ?? "")) return undefined;
    throw error;
  }
}
