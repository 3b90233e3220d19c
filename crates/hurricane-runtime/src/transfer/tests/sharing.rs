//! Objects that go on from node to node, and nodes that make a bad job of it.

use super::*;
use crate::audience::MIN_SHARED_BYTES;

const OBJECT: ObjectId = ObjectId { node: HOLDER, number: ObjectNumber(1) };

/// Bytes that are worth sharing, of which each piece differs.
fn shared() -> Bytes {
    let pieces = (0_u8..).take(2 * MIN_SHARED_BYTES / PIECE_BYTES);
    pieces.flat_map(|piece| vec![piece; PIECE_BYTES]).chain([99; 1000]).collect()
}

const PIECES: u64 = (2 * MIN_SHARED_BYTES / PIECE_BYTES) as u64 + 1;

/// An owner with an object, and others, all of which know each other.
fn owner_and(others: u64) -> (Process, Vec<Process>) {
    let owner = Process::start(&[HOLDER]);
    owner.store.insert(HOLDER, OBJECT, shared());
    let others: Vec<Process> =
        (0..others).map(|index| Process::start(&[NodeId(100 + index)])).collect();
    for (index, other) in others.iter().enumerate() {
        owner.roster.here(HOLDER, other.place(node(index)));
        other.roster.here(node(index), owner.place(HOLDER));
        for (place, another) in others.iter().enumerate().filter(|(place, _)| *place != index) {
            other.roster.here(node(index), another.place(node(place)));
        }
    }
    (owner, others)
}

fn node(index: usize) -> NodeId {
    NodeId(100 + index as u64)
}

/// One of them has asked the owner, so that the next ones are sent to it.
fn has_asked(owner: &Process, index: usize) {
    let find = Find { request: 1, object: OBJECT, asker: node(index), without: None };
    owner.transfer.shelf.find(find);
}

/// Has one of them fetch the object.
fn fetch(process: &Process, index: usize) -> Heard {
    let (needs, heard) = needing(node(index), &silent_relay().0);
    process.transfer.fetch(needs, OBJECT);
    heard
}

async fn is_exact(process: &Process, heard: &Heard) {
    eventually("it was told", || !heard.borrow().is_empty()).await;
    assert_eq!(*heard.borrow(), [(OBJECT, true)]);
    let stored = process.store.get(OBJECT).expect("it is there");
    assert_eq!(stored, shared());
    let given_on = process.transfer.shelf.lingering(OBJECT).expect("it was fetched");
    assert_eq!(given_on.as_ptr(), stored.as_ptr(), "it was gathered where it lies");
    assert!(process.transfer.shelf.look_up_arriving(OBJECT).is_none());
}

/// Puts some of the object where it is on its way.
fn bring(gathering: &Gathering, pieces: u64) {
    for _ in 0..pieces {
        let offset = gathering.ask_next().expect("some are missing");
        let begin = usize::try_from(offset).expect("it is small");
        let whole = shared();
        let bytes = whole.slice(begin..whole.len().min(begin + PIECE_BYTES));
        assert!(gathering.put(offset, &Content { total_bytes: whole.len() as u64, bytes }));
    }
}

#[test]
fn the_owner_sends_it_once() {
    run(async {
        let (owner, others) = owner_and(4);
        let heard: Vec<Heard> =
            others.iter().enumerate().map(|(index, other)| fetch(other, index)).collect();
        for (other, heard) in others.iter().zip(&heard) {
            is_exact(other, heard).await;
        }
        let of_others: u64 = others.iter().map(|other| other.store.reads()).sum();
        // Beside the pieces, questions for others and the digest, and a first piece for each.
        assert!(owner.store.reads() < 2 * PIECES, "{}", owner.store.reads());
        assert!(of_others > 0);
    });
}

#[test]
fn it_comes_from_two_at_once() {
    run(async {
        let (owner, others) = owner_and(3);
        for index in [0, 1] {
            has_asked(&owner, index);
            others[index].store.insert(node(index), OBJECT, shared());
        }
        is_exact(&others[2], &fetch(&others[2], 2)).await;
        let reads = [others[0].store.reads(), others[1].store.reads()];
        assert!(reads.iter().all(|reads| *reads > 1), "{reads:?}");
        assert_eq!(reads.iter().sum::<u64>(), PIECES - 1);
    });
}

#[test]
fn who_waits_for_one_that_waits_is_told_so() {
    run(async {
        let (owner, others) = owner_and(2);
        has_asked(&owner, 0);
        let arriving = others[0].transfer.shelf.expect(OBJECT);
        bring(&arriving.gathering, 9);
        let heard = fetch(&others[1], 1);
        let gathering = || others[1].transfer.shelf.look_up_arriving(OBJECT);
        let has = |piece: u64| gathering().is_some_and(|it| it.has(piece * PIECE_BYTES as u64));
        eventually("some of it comes", || has(8)).await;
        // Longer than a node may be silent.
        tokio::time::sleep(2 * Patience::NODE.further).await;
        assert!(heard.borrow().is_empty() && !has(9));
        let before = owner.store.reads();
        bring(&arriving.gathering, PIECES - 9);
        is_exact(&others[1], &heard).await;
        assert_eq!(owner.store.reads(), before, "the owner had nothing to do with that");
    });
}

#[test]
fn one_that_dies_half_way_is_replaced() {
    run(async {
        let (owner, others) = owner_and(2);
        has_asked(&owner, 0);
        let arriving = others[0].transfer.shelf.expect(OBJECT);
        bring(&arriving.gathering, 9);
        let heard = fetch(&others[1], 1);
        let gathering = || others[1].transfer.shelf.look_up_arriving(OBJECT);
        let has = |piece: u64| gathering().is_some_and(|it| it.has(piece * PIECE_BYTES as u64));
        eventually("some of it comes", || has(8)).await;
        others[0].roster.gone(node(0), node(1));
        is_exact(&others[1], &heard).await;
    });
}

#[test]
fn one_that_says_nothing_is_replaced() {
    run(async {
        let (owner, others) = owner_and(2);
        has_asked(&owner, 0);
        let mute = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let port = mute.local_addr().expect("it is bound").port();
        others[1].roster.here(node(1), others[0].place_at(node(0), port));
        is_exact(&others[1], &fetch(&others[1], 1)).await;
    });
}

#[test]
fn one_that_lies_is_found_out() {
    run(async {
        let wrong_in_the_middle = {
            let mut wrong = shared().to_vec();
            wrong[3 * PIECE_BYTES + 7] ^= 1;
            Bytes::from(wrong)
        };
        let wrong_size = shared().slice(..5 * PIECE_BYTES);
        for lie in [wrong_in_the_middle, wrong_size] {
            let (owner, others) = owner_and(2);
            has_asked(&owner, 0);
            others[0].store.insert(node(0), OBJECT, lie);
            is_exact(&others[1], &fetch(&others[1], 1)).await;
            assert!(others[0].store.reads() > 0, "it was believed at first");
        }
    });
}

#[test]
fn what_one_needs_no_more_is_there_for_those_on_their_way() {
    run(async {
        let (owner, others) = owner_and(2);
        is_exact(&others[0], &fetch(&others[0], 0)).await;
        others[0].store.remove(node(0), OBJECT);
        let before = owner.store.reads();
        is_exact(&others[1], &fetch(&others[1], 1)).await;
        assert!(owner.store.reads() - before < PIECES);
    });
}

#[test]
fn one_that_has_it_no_more_is_passed_over() {
    run(async {
        let (owner, others) = owner_and(3);
        has_asked(&owner, 0);
        has_asked(&owner, 1);
        is_exact(&others[2], &fetch(&others[2], 2)).await;
        assert!(owner.store.reads() >= PIECES);
    });
}
