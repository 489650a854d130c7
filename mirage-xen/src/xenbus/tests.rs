use std::string::ToString;

use super::*;
use crate::model::{Features, Machine, Netback};

#[test]
fn states_keep_their_numbers() {
    for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 4711] {
        assert_eq!(u32::from(State::from(number)), number);
    }
    assert_eq!(format!("{} {}", State::InitWait, State::from(9)), "InitWait state 9");
}

#[test]
fn frontends_are_found_and_listed() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    machine.run(async {
        assert_eq!(Frontend::list(&store, "vif").await, Ok(Vec::new()));
        let missing = Frontend::find(&store, "vif", 3, &[]).await.expect_err("none");
        assert_eq!(missing, XenbusError::Missing { class: "vif", index: 3 });
        for index in [3, 10, 0] {
            Netback::attach(&machine.world, &machine.store, index, Features::default());
        }
        assert_eq!(Frontend::list(&store, "vif").await, Ok(Vec::from([0, 3, 10])));
        let (frontend, values) = Frontend::find(&store, "vif", 3, &["mac", "none"]).await.expect("attached");
        assert_eq!(values, [Some("00:16:3e:00:00:03".to_string()), None]);
        assert_eq!((frontend.name().as_str(), frontend.backend_domain()), ("vif 3", DomainId(0)));
        assert_eq!(frontend.backend_node("x"), "/local/domain/0/backend/vif/1/3/x");
    });
}

#[test]
fn a_backend_that_is_left_over_is_parted_from_first() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    let netback = Netback::attach(&machine.world, &machine.store, 0, Features::default());
    machine.run(async {
        let limit = Duration::from_secs(1);
        for state in [State::Closing, State::Closed] {
            let (frontend, _) = Frontend::find(&store, "vif", 0, &[]).await.expect("attached");
            let mut watch = frontend.watch_backend().await.expect("few watches");
            watch.until_offered(limit).await.expect("offered");
            frontend.set_state(State::Closing, &[]).await.expect("ours");
            watch.until(limit, "close", |state| state == State::Closing).await.expect("it follows");
            if state == State::Closed {
                frontend.set_state(State::Closed, &[]).await.expect("ours");
                watch.until(limit, "close", |state| state == State::Closed).await.expect("it follows");
            }
            watch.until_offered(limit).await.expect("offered again");
            watch.part(limit).await.expect("parted");
            assert_eq!(frontend.backend_state().await, Ok(State::Closed));
        }
        assert_eq!(netback.connections(), 0);
    });
}

#[test]
fn waiting_ends_and_says_what_for() {
    let machine = Machine::new(1);
    let store = machine.attachment.xenstore().clone();
    Netback::attach(&machine.world, &machine.store, 0, Features::default());
    machine.run(async {
        let (frontend, _) = Frontend::find(&store, "vif", 0, &[]).await.expect("attached");
        let mut watch = frontend.watch_backend().await.expect("few watches");
        let error = watch.until(Duration::from_secs(3), "dance", |state| state == State::Other(99)).await;
        let message = format!("{}", error.expect_err("it never does"));
        assert!(
            message.starts_with("vif 0: the backend (domain 0) did not dance within 3 s; its state was InitWait"),
            "{message}"
        );
    });
}
