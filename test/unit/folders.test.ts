import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** The folders below one that hold code. */
function codeFolders(folder: string): string[] {
  const entries = readdirSync(join(ROOT, folder), { withFileTypes: true });
  const own = entries.some((entry) => entry.isFile() && /\.(ts|cc|h)$/.test(entry.name)) ? [folder] : [];
  const below = entries.filter((entry) => entry.isDirectory()).flatMap(({ name }) => codeFolders(`${folder}/${name}`));
  return [...own, ...below];
}

/** Whether a README or the lead comment of index.ts says what the folder holds. */
function isDescribed(folder: string): boolean {
  if (existsSync(join(ROOT, folder, "README.md"))) return true;
  const index = join(ROOT, folder, "index.ts");
  return existsSync(index) && readFileSync(index, "utf8").startsWith("/**");
}

describe("the folders of src and native", () => {
  const folders = [...codeFolders("src"), ...codeFolders("native")];

  it("each begin with a README or a lead comment in index.ts", () => {
    expect(folders.length).toBeGreaterThan(40);
    expect(folders.filter((folder) => !isDescribed(folder))).toEqual([]);
  });
});
