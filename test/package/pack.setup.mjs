import { join } from "node:path";
import { createProject, createProjectFolder, packLibrary } from "../../scripts/packed-project.mjs";

export default async function setup(vitest) {
  const { path: directory, remove } = await createProjectFolder();
  try {
    const project = join(directory, "project");
    const tarball = await packLibrary(join(directory, "packed"));
    await createProject(project, tarball);
    vitest.provide("packedProject", project);
    vitest.provide("tarball", tarball);
    return remove;
  } catch (error) {
    await remove();
    throw error;
  }
}
