import { join } from "node:path";
import {
  createProject,
  createTemporaryDirectory,
  packLibrary,
  removeDirectory,
} from "../../scripts/packed-project.mjs";

export default async function setup(vitest) {
  const directory = await createTemporaryDirectory();
  const teardown = () => removeDirectory(directory);
  try {
    const project = join(directory, "project");
    await createProject(project, await packLibrary(join(directory, "packed")));
    vitest.provide("packedProject", project);
    return teardown;
  } catch (error) {
    await teardown();
    throw error;
  }
}
