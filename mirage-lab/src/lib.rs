//! mirage-lab
