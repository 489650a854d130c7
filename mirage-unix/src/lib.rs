//! mirage-unix
