import { hostname, userInfo } from "node:os";

/** Who types the command, such as `ann@laptop`. */
export function operator(): string {
  return `${userName()}@${hostname()}`;
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run as a user that has no name.
    return process.env["USER"] || String(process.getuid?.() ?? "unknown");
  }
}
