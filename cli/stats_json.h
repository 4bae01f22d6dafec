// Reading the JSON of a daemon's statistics. It is another program's output: what is
// missing, or is of another type, counts as nothing.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "base/log.h"

namespace cofs {

using StatsJson = nlohmann::ordered_json;

inline uint64_t StatsNumber(const StatsJson& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}
inline double StatsReal(const StatsJson& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}
// Printable.
inline std::string StatsText(const StatsJson& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_string()
             ? Printable(found->get<std::string>())
             : "";
}
inline bool StatsFlag(const StatsJson& object, const char* name) {
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
inline const StatsJson& StatsPart(const StatsJson& object, const char* name) {
  static const StatsJson kEmpty = StatsJson::object();
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_object() ? *found : kEmpty;
}
inline const StatsJson& StatsList(const StatsJson& object, const char* name) {
  static const StatsJson kEmpty = StatsJson::array();
  const auto found = object.is_object() ? object.find(name) : object.end();
  return found != object.end() && found->is_array() ? *found : kEmpty;
}

}  // namespace cofs
