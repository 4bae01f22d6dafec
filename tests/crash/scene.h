// Scene: a directory with a few files of each kind, and the operations that the crash
// tests carry out in it, each under a name: what CrashMonkey's ACE calls its vocabulary.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/crash/history.h"

namespace cofs {

// Its inodes stay looked up, as if they were open, until Leave().
//
//   NAME/a   3 blocks and a bit, with an extended attribute
//   NAME/b   64 KiB in two extents, the last quarter preallocated
//   NAME/d/c two blocks
//   NAME/e/  empty
struct Scene {
  InodeId dir, a, b, d, c, e;

  static Scene Make(History& history, const std::string& name);
  void Leave(History& history) const;
};

struct SceneOperation {
  const char* name;
  std::function<void(History&, const Scene&)> run;
};

const std::vector<SceneOperation>& SceneOperations();

// An operation of the scene that makes all durable that was done before: the ways take
// turns.
void Persist(History& history, const Scene& scene, uint64_t turn);

}  // namespace cofs
