#include "tests/crash/scene.h"

#include <linux/falloc.h>
#include <sys/stat.h>

#include "tests/core/test_volume.h"

namespace cofs {
namespace {

constexpr uint64_t kBlock = kBlockBytes;
constexpr int kKeepSize = FALLOC_FL_KEEP_SIZE;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr int kZero = FALLOC_FL_ZERO_RANGE;
constexpr int kCollapse = FALLOC_FL_COLLAPSE_RANGE;
constexpr int kInsert = FALLOC_FL_INSERT_RANGE;

void ChangeAttributes(History& h, InodeId id) {
  AttributeChange change;
  change.mode = 0600;
  change.uid = 12;
  change.mtime = Timestamp{1'000'000, 7};
  h.SetAttributes(id, change);
}

}  // namespace

Scene Scene::Make(History& history, const std::string& name) {
  Scene s;
  s.dir = history.Create(kRootInode, name, Directory());
  s.a = history.Create(s.dir, "a", File());
  s.b = history.Create(s.dir, "b", File());
  s.d = history.Create(s.dir, "d", Directory());
  s.c = history.Create(s.d, "c", File());
  s.e = history.Create(s.dir, "e", Directory());
  history.Write(s.b, 0, 20 * 1024);
  history.Write(s.a, 0, 3 * kBlock + 100);
  history.Write(s.b, 20 * 1024, 28 * 1024);
  history.Allocate(s.b, 0, 48 * 1024, 16 * 1024);
  history.Write(s.c, 0, 2 * kBlock);
  history.SetXattr(s.a, "user.first", "old value");
  return s;
}

void Scene::Leave(History& history) const {
  for (InodeId id : {dir, a, b, d, c, e})
    if (id.value() != 0) history.volume().Forget(id, 1);
}

const std::vector<SceneOperation>& SceneOperations() {
  using H = History;
  using S = Scene;
  static const std::vector<SceneOperation> kOperations = {
      {"create", [](H& h, const S& s) { h.Create(s.dir, "new", File()); }},
      {"mkdir", [](H& h, const S& s) { h.Create(s.dir, "newdir", Directory()); }},
      {"symlink", [](H& h, const S& s) { h.MakeSymlink(s.dir, "sym", "a/b/c"); }},
      {"tmpfile+link", [](H& h, const S& s) { h.CreateUnnamed(s.dir, "unnamed"); }},
      {"write", [](H& h, const S& s) { h.Write(s.a, 10 * kBlock, 2 * kBlock); }},
      {"append", [](H& h, const S& s) { h.Append(s.a, 5000); }},
      {"overwrite", [](H& h, const S& s) { h.Write(s.a, kBlock - 50, 2000); }},
      {"overwrite blocks", [](H& h, const S& s) { h.Write(s.b, kBlock, 4 * kBlock); }},
      {"write preallocated", [](H& h, const S& s) { h.Write(s.b, 50'000, 9000); }},
      {"O_SYNC write", [](H& h, const S& s) { h.Write(s.a, 2 * kBlock, 3000, true); }},
      {"truncate", [](H& h, const S& s) { h.Truncate(s.a, kBlock + 77); }},
      {"truncate to 0", [](H& h, const S& s) { h.Truncate(s.b, 0); }},
      {"extend", [](H& h, const S& s) { h.Truncate(s.a, 20 * kBlock + 5); }},
      {"punch", [](H& h, const S& s) { h.Allocate(s.b, kPunch, 6000, 20'000); }},
      {"punch the tail",
       [](H& h, const S& s) { h.Allocate(s.a, kPunch, 2 * kBlock, 2 * kBlock); }},
      {"zero range", [](H& h, const S& s) { h.Allocate(s.b, kZero, 5000, 15'000); }},
      {"zero range past the end",
       [](H& h, const S& s) { h.Allocate(s.a, kZero, 2 * kBlock, 6 * kBlock); }},
      {"zero range, keep size",
       [](H& h, const S& s) {
         h.Allocate(s.a, kZero | kKeepSize, 3 * kBlock, 4 * kBlock);
       }},
      {"fallocate", [](H& h, const S& s) { h.Allocate(s.a, 0, 2 * kBlock, 40'000); }},
      {"fallocate, keep size",
       [](H& h, const S& s) { h.Allocate(s.a, kKeepSize, 4 * kBlock, 40'000); }},
      {"collapse",
       [](H& h, const S& s) { h.Allocate(s.b, kCollapse, 2 * kBlock, 3 * kBlock); }},
      {"insert",
       [](H& h, const S& s) { h.Allocate(s.b, kInsert, 3 * kBlock, 2 * kBlock); }},
      {"rename",
       [](H& h, const S& s) {
         h.Rename(s.dir, "a", s.dir, "moved", RenameMode::kReplace);
       }},
      {"rename over a file",
       [](H& h, const S& s) { h.Rename(s.dir, "a", s.dir, "b", RenameMode::kReplace); }},
      {"rename, no replace",
       [](H& h, const S& s) {
         h.Rename(s.dir, "b", s.d, "moved", RenameMode::kNoReplace);
       }},
      {"rename back over",
       [](H& h, const S& s) { h.Rename(s.d, "c", s.dir, "a", RenameMode::kReplace); }},
      {"rename a directory",
       [](H& h, const S& s) { h.Rename(s.dir, "d", s.e, "d", RenameMode::kReplace); }},
      {"rename over a directory",
       [](H& h, const S& s) { h.Rename(s.dir, "d", s.dir, "e", RenameMode::kReplace); }},
      {"exchange files",
       [](H& h, const S& s) { h.Rename(s.dir, "a", s.d, "c", RenameMode::kExchange); }},
      {"exchange a file and a directory",
       [](H& h, const S& s) { h.Rename(s.dir, "b", s.dir, "e", RenameMode::kExchange); }},
      {"link", [](H& h, const S& s) { h.Link(s.a, s.d, "linked"); }},
      {"unlink", [](H& h, const S& s) { h.Unlink(s.dir, "a"); }},
      {"unlink below", [](H& h, const S& s) { h.Unlink(s.d, "c"); }},
      {"rmdir", [](H& h, const S& s) { h.RemoveDirectory(s.dir, "e"); }},
      {"setxattr", [](H& h, const S& s) { h.SetXattr(s.a, "user.first", "new value"); }},
      {"setxattr, long",
       [](H& h, const S& s) {
         h.SetXattr(s.a, "user.second", CrashBytes(5, 20'000));
       }},
      {"removexattr", [](H& h, const S& s) { h.RemoveXattr(s.a, "user.first"); }},
      {"chmod", [](H& h, const S& s) { ChangeAttributes(h, s.a); }},
      {"clone", [](H& h, const S& s) { h.Clone(s.a, 0, s.b, 0, 0); }},
      {"clone a range",
       [](H& h, const S& s) { h.Clone(s.b, 2 * kBlock, s.a, kBlock, 8 * kBlock); }},
      {"clone within",
       [](H& h, const S& s) { h.Clone(s.b, 0, s.b, 8 * kBlock, 4 * kBlock); }},
      {"copy_file_range",
       [](H& h, const S& s) { h.Copy(s.b, 0, s.a, 4 * kBlock, 8 * kBlock); }},
      {"copy_file_range over",
       [](H& h, const S& s) { h.Copy(s.c, 0, s.b, 3 * kBlock, 2 * kBlock); }},
      {"fsync", [](H& h, const S& s) { h.Sync(s.a); }},
      {"fsync a directory", [](H& h, const S& s) { h.Sync(s.dir); }},
      {"sync", [](H& h, const S&) { h.SyncAll(); }},
  };
  return kOperations;
}

void Persist(History& history, const Scene& scene, uint64_t turn) {
  switch (turn % 4) {
    case 0:
      return history.Sync(scene.a);
    case 1:
      return history.Sync(scene.dir);
    case 2:
      return history.Write(scene.b, 0, kBlock, /*sync=*/true);
    default:
      return history.SyncAll();
  }
}

}  // namespace cofs
