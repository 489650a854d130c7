//! mirage-xen
