//! Time that others had.

use mirage_rt::{Duration, Runtime};

/// Says how much time was stolen while this computed for half a second.
pub async fn look() {
    let runtime = Runtime::current();
    let Some(before) = runtime.stolen_time() else { return mirage_rt::println!("nobody counts stolen time") };
    let end = runtime.now() + Duration::from_millis(500);
    let mut last = before;
    while runtime.now() < end {
        let Some(stolen) = runtime.stolen_time() else { return };
        assert!(stolen >= last, "stolen time went back");
        last = stolen;
    }
    mirage_rt::println!("stolen: {} us", (last - before).as_micros());
}
