//! mirage-build
