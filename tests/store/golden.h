// Golden bytes of the store's format, version 1: never to be changed. docs/FORMAT-store.md
// says what they are.
#pragma once

namespace cofs {

inline constexpr char kGoldenSnapshotHeader[] =
    "634a524e4aaebcca887766554433221105000000000000003100000001000000";
inline constexpr char kGoldenSnapshot[] =
    "01808002872001800480100207010743555252454e54011000018004080902"
    "0a3030303030342e6c6f6703000001880410";
inline constexpr char kGoldenChanges[] =
    "0180208002028740030a010a3030303030352e737374040a980408050a03f6200102c420"
    "060a0a3030303030362e7373740709040aa00408080aa0040809a02040";
inline constexpr char kGoldenTrailer[] =
    "080706050403020109000000000000000a000000040001000000000090abb60a";

}  // namespace cofs
