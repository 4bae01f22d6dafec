#include "extent_map/store/detached_store.h"

#include "extent_map/store/rocks_store.h"

namespace cofs {

using store::Engine;
using store::FileTable;
using store::RocksStore;
using store::Sizing;

Result<std::unique_ptr<Store>> CreateDetachedStore(BlockDevice& device, DeviceRange pool,
                                                   Superblock& superblock) {
  TRY(CheckRange(device.geometry(), pool.offset, pool.length_bytes));
  auto engine = std::make_unique<Engine>(Sizing::ForVolume(superblock.volume_bytes));
  TRY_ASSIGN(engine->table,
             FileTable::Format(device, pool, engine->sizing.chunk_bytes, engine->latch,
                               [&superblock](DeviceRange segment, uint64_t generation) {
                                 superblock.journal = segment;
                                 superblock.journal_generation = generation;
                                 return OkStatus();
                               }));
  const StoreOptions options;
  TRY(engine->OpenDatabase(device, Engine::Mode::kCreate, options.cache_bytes));
  return std::unique_ptr<Store>(std::make_unique<RocksStore>(std::move(engine), options));
}

}  // namespace cofs
