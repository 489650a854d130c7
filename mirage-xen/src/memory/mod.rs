//! Memory: the map, the frames, the page tables and the pools of I/O pages.

pub mod frames;
pub mod map;

pub use frames::Frames;
pub use map::{Kind, MemoryMap, Ranges, Region};
