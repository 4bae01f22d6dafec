#include "extent_map/store/store_options.h"

#include <rocksdb/cache.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>

#include "extent_map/store/checksum_merge.h"
#include "extent_map/store/volume_file_system.h"

namespace cofs::store {
namespace {

// A longer chain of checksum records of one chunk in the memtable is merged when it is
// written, so that a read has a bounded number of them to go through.
constexpr size_t kMergeChainMax = 64;
constexpr int kOpenTablesMax = 2000;

std::shared_ptr<rocksdb::TableFactory> MakeTableFactory(uint64_t cache_bytes) {
  rocksdb::BlockBasedTableOptions table;
  table.format_version = 5;  // 7.8 and 9 read each other's volumes
  table.checksum = rocksdb::kXXH3;
  table.block_size = 8 << 10;  // two to three blocks of the volume
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.block_cache = rocksdb::NewLRUCache(cache_bytes);
  // Inside the cache, so that memory is bounded.
  table.cache_index_and_filter_blocks = true;
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  return std::shared_ptr<rocksdb::TableFactory>(
      rocksdb::NewBlockBasedTableFactory(table));
}

void SetLog(rocksdb::Options& options, const Sizing& sizing) {
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kAbsoluteConsistency;
  // Every record reaches our file at once, which stages it in memory; the store makes it
  // durable itself (wal_chain.h).
  options.manual_wal_flush = false;
  options.recycle_log_file_num = 0;
  // So that the file IDENTITY may be lost (engine.cc).
  options.write_dbid_to_manifest = true;
  options.max_manifest_file_size = sizing.manifest_bytes_max;
  options.avoid_flush_during_recovery = false;
  options.avoid_flush_during_shutdown = true;  // a store that is dropped syncs nothing
  options.info_log_level = rocksdb::InfoLogLevel::ERROR_LEVEL;
  options.keep_log_file_num = 1;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
}

void SetLevels(rocksdb::Options& options, const Sizing& sizing) {
  options.write_buffer_size = sizing.memtable_bytes;
  options.max_write_buffer_number = kMemtableCount;
  options.level0_file_num_compaction_trigger = kLevel0CompactAt;
  options.level0_slowdown_writes_trigger = kLevel0SlowAt;
  options.level0_stop_writes_trigger = kLevel0StopAt;
  options.delayed_write_rate = 64 << 20;
  options.target_file_size_base = sizing.memtable_bytes;
  options.max_bytes_for_level_base = sizing.level1_bytes;
  options.level_compaction_dynamic_level_bytes = true;
  options.max_compaction_bytes = kCompactionTablesMax * sizing.memtable_bytes;
  options.max_background_jobs = 2;  // one flush, one compaction
  options.max_subcompactions = 1;
  options.compaction_readahead_size = 256 << 10;
  options.writable_file_max_buffer_size = 512 << 10;
  options.ttl = 0;
  options.periodic_compaction_seconds = 0;
  // Tables full of deletions are compacted soon: their space is needed.
  options.table_properties_collector_factories.push_back(
      rocksdb::NewCompactOnDeletionCollectorFactory(128, 96, 0.5));
}

}  // namespace

rocksdb::Options MakeRocksOptions(const Sizing& sizing, uint64_t cache_bytes,
                                  rocksdb::Env* env) {
  rocksdb::Options options;
  options.env = env;
  options.paranoid_checks = true;
  options.compression = rocksdb::kNoCompression;  // checksums don't compress
  options.merge_operator = std::make_shared<ChecksumMerge>();
  options.max_successive_merges = kMergeChainMax;
  options.max_open_files = kOpenTablesMax;
  options.skip_stats_update_on_db_open = true;
  // After an error nothing is tried again: the store has failed.
  options.max_bgerror_resume_count = 0;
  options.allow_mmap_reads = false;
  options.allow_mmap_writes = false;
  options.use_fsync = false;
  options.table_factory = MakeTableFactory(cache_bytes);
  SetLog(options, sizing);
  SetLevels(options, sizing);
  return options;
}

}  // namespace cofs::store
