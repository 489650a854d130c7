//! The short form of what `cargo bench -p mirage-bench --bench soak -- hostile` does with ten million steps.

use mirage_fuzz::hostile;

#[test]
fn drivers_survive_hostile_backends_and_know_every_reason_to_give_up() {
    let seed = 20_261_126;
    println!("seed {seed}");
    let tally = hostile::run_with(seed, 60_000, |device, piece| {
        println!("{device}: {} steps, {} lives, {} refused", piece.steps, piece.lives, piece.refused);
    });
    for (reason, count) in &tally.reasons {
        println!("{count:8} {reason}");
    }
    assert_eq!(tally.missing(), Vec::<&str>::new(), "{tally:?}");
    assert_eq!(tally.reasons.len(), hostile::REASONS.len(), "there is a reason that the list lacks: {tally:?}");
}
