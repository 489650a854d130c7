//! mirage-rt
