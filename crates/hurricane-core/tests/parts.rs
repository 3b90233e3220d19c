//! Messages of any size go in parts and come out whole; whatever else comes is an error, within the
//! limit.

use core::fmt::Debug;
use core::time::Duration;

use bytes::Bytes;
use hurricane_core::id::{
    Attempt, DefinitionNumber, NodeId, Number, ObjectId, ObjectNumber, TaskId,
};
use hurricane_core::member::{
    Answer, Content, FromClient, FromNode, NodeDescription, Piece, Read, Request, ToClient, ToNode,
};
use hurricane_core::message::{
    ClientToScheduler, Ending, NodeToScheduler, SchedulerToClient, Stored, Value,
};
use hurricane_core::parts::{GATHERED_BYTES, Gatherer, Joiner, PART_BYTES, PartError, cut};
use hurricane_core::resources::Resources;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Far more than any message here.
const AMPLE: usize = 16 << 20;

/// What comes of parts, one after the other, until one is refused.
fn join<T: DeserializeOwned>(limit: usize, parts: &[Bytes]) -> Result<Vec<T>, PartError> {
    let mut joiner = Joiner::new(limit);
    let mut messages = Vec::new();
    for part in parts {
        messages.extend(take(&mut joiner, part)?);
    }
    Ok(messages)
}

/// The messages that are whole with a part.
fn take<T: DeserializeOwned>(joiner: &mut Joiner, part: &Bytes) -> Result<Vec<T>, PartError> {
    joiner.push(part.clone())?;
    let mut whole = Vec::new();
    while let Some(message) = joiner.pop()? {
        whole.push(message);
    }
    Ok(whole)
}

/// The parts of messages that go out together.
fn gather<T: Serialize>(messages: &[T]) -> Vec<Bytes> {
    let mut gatherer = Gatherer::default();
    for message in messages {
        gatherer.push(message);
    }
    let parts = core::iter::from_fn(|| gatherer.pop()).collect();
    assert!(gatherer.is_empty());
    parts
}

/// How large a message is without its parts.
fn size_of(parts: &[Bytes]) -> usize {
    parts.iter().map(|part| part.len() - 1).sum()
}

/// Bytes whose number is likely to lie where a message needs one part more.
fn content() -> impl Strategy<Value = Bytes> {
    let near = |parts: usize| (parts * PART_BYTES).saturating_sub(24)..parts * PART_BYTES + 24;
    let length = prop_oneof![4 => 0..100_usize, 1 => near(1), 1 => near(2), 1 => near(3)];
    (length, any::<u8>()).prop_map(|(length, byte)| Bytes::from(vec![byte; length]))
}

fn object() -> impl Strategy<Value = ObjectId> {
    let object = |(node, number)| ObjectId { node: NodeId(node), number: ObjectNumber(number) };
    any::<(u64, u64)>().prop_map(object)
}

fn value() -> impl Strategy<Value = Value> {
    let stored = (object(), any::<u64>());
    let stored = stored.prop_map(|(object, size_bytes)| Stored { object, size_bytes });
    prop_oneof![content().prop_map(Value::Inline), stored.prop_map(Value::Stored)]
}

fn piece() -> impl Strategy<Value = Piece> {
    let content = (any::<u64>(), content());
    let content = content.prop_map(|(total_bytes, bytes)| Content { total_bytes, bytes });
    (any::<u64>(), prop::option::of(content))
        .prop_map(|(request, content)| Piece { request, content })
}

fn read() -> impl Strategy<Value = Read> {
    (any::<u64>(), object(), any::<u64>()).prop_map(|(request, object, offset)| Read {
        request,
        object,
        offset,
    })
}

fn from_client() -> impl Strategy<Value = FromClient> {
    let numbers = prop::collection::vec(any::<u64>().prop_map(Number), 0..50);
    let submit = (any::<u64>(), any::<u32>(), content(), numbers);
    let submit = submit.prop_map(|(number, definition, arguments, dependencies)| {
        let (number, definition) = (Number(number), DefinitionNumber(definition));
        ClientToScheduler::Submit { number, definition, arguments, dependencies }
    });
    let put = (any::<u64>(), value());
    let put =
        put.prop_map(|(number, value)| ClientToScheduler::Put { number: Number(number), value });
    prop_oneof![
        submit.prop_map(FromClient::Scheduling),
        put.prop_map(FromClient::Scheduling),
        Just(FromClient::Scheduling(ClientToScheduler::CancelWaiting)),
        read().prop_map(FromClient::Read),
    ]
}

fn to_client() -> impl Strategy<Value = ToClient> {
    let ended = (any::<u64>(), value()).prop_map(|(number, value)| SchedulerToClient::Ended {
        number: Number(number),
        ending: Ending::Done(value),
    });
    prop_oneof![ended.prop_map(ToClient::Scheduling), piece().prop_map(ToClient::Piece)]
}

fn from_node() -> impl Strategy<Value = FromNode> {
    let finished = (any::<u64>(), any::<u32>(), value(), any::<u64>());
    let finished = finished.prop_map(|(task, attempt, value, ran)| NodeToScheduler::Finished {
        task: TaskId(task),
        attempt: Attempt(attempt),
        value,
        ran: Duration::from_micros(ran),
    });
    let texts = prop::collection::vec(".{0,40}".prop_map(Box::from), 0..40);
    let description = (texts, any::<[u8; 32]>(), any::<u16>(), ".{0,80}");
    let description = description.prop_map(|(addresses, key, port, host)| NodeDescription {
        resources: Resources::cpus(u64::from(port)),
        key,
        addresses,
        port,
        host: host.into(),
    });
    prop_oneof![
        finished.prop_map(FromNode::Scheduling),
        description.prop_map(FromNode::Join),
        Just(FromNode::Leave),
        read().prop_map(FromNode::Read),
        piece().prop_map(FromNode::Piece),
    ]
}

/// What nobody would send: parts of anything, with flags that are mostly right.
fn nonsense() -> impl Strategy<Value = Vec<Bytes>> {
    let flag = prop_oneof![4 => Just(0_u8), 4 => Just(1), 4 => Just(2), 1 => any::<u8>()];
    // Small numbers are the tags of messages, and large ones lengths that are not there.
    let byte = prop_oneof![2 => 0..12_u8, 1 => any::<u8>()];
    let part = (flag, prop::collection::vec(byte, 0..80)).prop_map(|(flag, content)| {
        let part: Vec<u8> = core::iter::once(flag).chain(content).collect();
        Bytes::from(part)
    });
    prop::collection::vec(prop_oneof![20 => part, 1 => Just(Bytes::new())], 0..20)
}

/// Changes a byte of some part, or takes it away, or doubles it.
fn spoil(parts: &mut Vec<Bytes>, nth: prop::sample::Index, at: prop::sample::Index, kind: u8) {
    let nth = nth.index(parts.len());
    let mut part = parts[nth].to_vec();
    let at = at.index(part.len());
    match kind {
        0 => part[at] ^= 1 << (at % 8),
        1 => part.truncate(at),
        2 => parts.insert(nth, parts[nth].clone()),
        _ => drop(parts.remove(nth)),
    }
    if kind < 2 {
        parts[nth] = part.into();
    }
}

fn survives<T>(messages: &[T]) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let parts: Vec<Vec<Bytes>> = messages.iter().map(cut).collect();
    for parts in &parts {
        prop_assert!(parts.iter().all(|part| part.len() <= PART_BYTES + 1));
        prop_assert!(parts.iter().rev().skip(1).all(|part| part.len() == PART_BYTES + 1));
    }
    let joined = join::<T>(AMPLE, &parts.concat());
    prop_assert_eq!(joined.as_deref(), Ok(messages));
    let parts = gather(messages);
    prop_assert!(parts.iter().all(|part| part.len() <= PART_BYTES + 1));
    let joined = join::<T>(AMPLE, &parts);
    prop_assert_eq!(joined.as_deref(), Ok(messages));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_come_out_as_they_went_in(
        from_clients in prop::collection::vec(from_client(), 0..4),
        to_clients in prop::collection::vec(to_client(), 0..4),
        from_nodes in prop::collection::vec(from_node(), 0..4),
        pieces in prop::collection::vec(piece().prop_map(ToNode::Piece), 0..4),
    ) {
        survives(&from_clients)?;
        survives(&to_clients)?;
        survives(&from_nodes)?;
        survives(&pieces)?;
    }

    #[test]
    fn nonsense_is_an_error_and_no_more(parts in nonsense()) {
        let _ = join::<FromClient>(AMPLE, &parts);
        let _ = join::<ToClient>(AMPLE, &parts);
        let _ = join::<FromNode>(AMPLE, &parts);
        let _ = join::<ToNode>(AMPLE, &parts);
        let _ = join::<Request>(AMPLE, &parts);
        let _ = join::<Answer>(AMPLE, &parts);
    }

    #[test]
    fn what_was_spoiled_on_the_way_is_an_error_or_another_message(
        messages in prop::collection::vec(from_node(), 1..4),
        nth in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        kind in 0..4_u8,
        is_gathered in any::<bool>(),
    ) {
        let together = gather(&messages);
        let apart = messages.iter().flat_map(cut).collect();
        let mut parts: Vec<Bytes> = if is_gathered { together } else { apart };
        spoil(&mut parts, nth, at, kind);
        let joined = join::<FromNode>(AMPLE, &parts);
        // What has lost its beginning may be many others.
        let most = if is_gathered { usize::MAX } else { messages.len() + 1 };
        prop_assert!(joined.map_or(true, |joined| joined.len() <= most));
    }

    #[test]
    fn the_limit_is_that_of_the_whole_message(bytes in content()) {
        let parts = cut(&bytes);
        let size = size_of(&parts);
        prop_assert_eq!(join::<Bytes>(size, &parts), Ok(vec![bytes]));
        let too_large = PartError::TooLarge { limit_bytes: size - 1 };
        prop_assert_eq!(join::<Bytes>(size - 1, &parts), Err(too_large));
    }

    #[test]
    fn who_joins_parts_of_one_sender_does_not_see_those_of_another(
        ones in prop::collection::vec(from_client(), 1..4),
        others in prop::collection::vec(from_client(), 1..4),
        order in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (mut one, mut other) = (Joiner::new(AMPLE), Joiner::new(AMPLE));
        let mut from_one = ones.iter().flat_map(cut).collect::<Vec<_>>().into_iter();
        let mut from_other = others.iter().flat_map(cut).collect::<Vec<_>>().into_iter();
        let (mut by_one, mut by_other) = (Vec::new(), Vec::new());
        for is_one in order {
            let (sender, joiner, joined) = if is_one {
                (&mut from_one, &mut one, &mut by_one)
            } else {
                (&mut from_other, &mut other, &mut by_other)
            };
            let Some(part) = sender.next() else { continue };
            joined.extend(take::<FromClient>(joiner, &part).expect("each came as it was sent"));
        }
        prop_assert_eq!(&by_one[..], &ones[..by_one.len()]);
        prop_assert_eq!(&by_other[..], &others[..by_other.len()]);
    }
}

#[test]
fn parts_without_end_hold_no_more_than_the_limit() {
    let mut joiner = Joiner::new(3 * PART_BYTES);
    let mut part = vec![0; PART_BYTES + 1];
    part[0] = 1;
    let part = Bytes::from(part);
    for _ in 0..3 {
        assert_eq!(take::<FromNode>(&mut joiner, &part), Ok(vec![]));
    }
    let limit_bytes = 3 * PART_BYTES;
    assert_eq!(take::<FromNode>(&mut joiner, &part), Err(PartError::TooLarge { limit_bytes }));
}

#[test]
fn a_claim_of_more_than_is_there_takes_no_memory() {
    // A piece whose bytes are said to be 2^62.
    let length = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
    let part: Bytes = [0, 4, 1, 1, 1].into_iter().chain(length).collect();
    let mut joiner = Joiner::new(AMPLE);
    assert_eq!(take::<FromNode>(&mut joiner, &part), Err(PartError::Malformed));
}

#[test]
fn small_messages_share_parts() {
    let messages: Vec<FromNode> = (0..10_000).map(|_| FromNode::Leave).collect();
    assert_eq!(gather(&messages).len(), 1);
    let number = |number| {
        FromClient::Scheduling(ClientToScheduler::Put {
            number: Number(number),
            value: Value::Inline(vec![0; 100].into()),
        })
    };
    let messages: Vec<FromClient> = (0..1000).map(number).collect();
    let parts = gather(&messages);
    assert!(parts.iter().all(|part| part.len() <= GATHERED_BYTES), "{parts:?}");
    assert!(parts.len() <= 2 * 1000 * 110 / GATHERED_BYTES, "{}", parts.len());
    assert_eq!(join::<FromClient>(AMPLE, &parts), Ok(messages));
}
