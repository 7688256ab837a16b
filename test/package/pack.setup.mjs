import { join } from "node:path";
import { createProject, createProjectFolder, packLibrary } from "../../scripts/packed-project.mjs";

export default async function setup(vitest) {
  const { path: directory, remove } = await createProjectFolder();
  try {
    const project = join(directory, "project");
    await createProject(project, await packLibrary(join(directory, "packed")));
    vitest.provide("packedProject", project);
    return remove;
  } catch (error) {
    await remove();
    throw error;
  }
}
