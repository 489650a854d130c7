//! Memory: the map, the frames, the page tables and the pools of I/O pages.

pub mod frames;
#[allow(unsafe_code)]
pub mod machine;
pub mod map;
#[allow(unsafe_code)]
mod pool;
pub mod tables;

pub use frames::Frames;
pub use map::{Kind, MemoryMap, Ranges, Region};
pub use tables::{Access, ImageLayout, MapError, PageTables, TableMemory};
