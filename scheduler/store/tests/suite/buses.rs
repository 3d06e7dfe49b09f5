//! Buses: who hears what, and questions.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use headland_control_store::{BusError, Prefix, Subject, VALUE_BYTES_MAX};

use crate::support::{Place, eventually, soon};

fn subject(parts: &[&str]) -> Subject {
    Subject::new("heartbeat", parts).unwrap()
}

pub async fn messages_come_in_order_to_all_who_listen_and_to_nobody_else(place: &dyn Place) {
    let (sender, receiver) = (place.bus().await, place.bus().await);
    let mut every = receiver.subscribe(Prefix::kind("heartbeat").unwrap()).await.unwrap();
    let mut one = receiver.subscribe(Prefix::Key(subject(&["fra 2"]))).await.unwrap();
    let mut other = receiver.subscribe(Prefix::kind("other").unwrap()).await.unwrap();
    // A network takes a moment to know who listens.
    let greeted = async |stream: &mut futures_util::stream::BoxStream<'static, _>| {
        tokio::time::timeout(Duration::from_millis(50), stream.next()).await.ok()
    };
    let last = Subject::new("other", ["x"]).unwrap();
    loop {
        sender.publish(&subject(&["fra 2"]), Bytes::from_static(b"hello")).await.unwrap();
        sender.publish(&last, Bytes::new()).await.unwrap();
        if greeted(&mut other).await.is_some()
            && greeted(&mut one).await.is_some()
            && greeted(&mut every).await.is_some()
        {
            break;
        }
    }
    for at in 0_u32..100 {
        sender.publish(&subject(&["fra 2"]), at.to_string().into()).await.unwrap();
        sender.publish(&subject(&["ams"]), at.to_string().into()).await.unwrap();
    }
    for at in 0..100 {
        for (stream, parts) in [(&mut one, vec!["fra 2"]), (&mut every, vec!["fra 2", "ams"])] {
            for part in parts {
                let message = loop {
                    let message = soon("a message", stream.next()).await.unwrap();
                    if message.payload != "hello" {
                        break message;
                    }
                };
                assert_eq!((message.subject, message.payload), (subject(&[part]), at.to_string().into()));
                assert_eq!(message.reply, None);
            }
        }
    }
}

pub async fn a_question_is_answered_by_whoever_listens(place: &dyn Place) {
    let (asker, answerer) = (place.bus().await, place.bus().await);
    let asked = subject(&["renew"]);
    let wait = Duration::from_secs(5);
    let alone = asker.request(&asked, Bytes::new(), wait).await.unwrap_err();
    assert!(matches!(alone, BusError::NobodyListens { .. }), "{alone}");

    let mut questions = answerer.subscribe(Prefix::Key(asked.clone())).await.unwrap();
    let answering = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            if question.payload == "silence" {
                continue;
            }
            let answer = [b"re: ", &question.payload[..]].concat();
            answerer.respond(&question, answer.into()).await.unwrap();
        }
    });
    eventually("an answer", || async { asker.request(&asked, Bytes::new(), wait).await.ok() }).await;
    let questions = (0..20).map(|at| {
        let (asker, asked) = (&asker, &asked);
        async move { (at, asker.request(asked, at.to_string().into(), wait).await.unwrap()) }
    });
    for (at, answer) in futures_util::future::join_all(questions).await {
        assert_eq!(answer, format!("re: {at}"));
    }
    let late = asker.request(&asked, Bytes::from_static(b"silence"), Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(late, BusError::NoAnswer { timeout_ms: 100, .. }), "{late}");
    answering.abort();
}

pub async fn too_large_messages_and_unwanted_answers_are_refused(place: &dyn Place) {
    let bus = place.bus().await;
    let refused = bus.publish(&subject(&["a"]), vec![0; VALUE_BYTES_MAX + 1].into()).await.unwrap_err();
    assert!(matches!(refused, BusError::TooLarge { .. }), "{refused}");
    let mut messages = bus.subscribe(Prefix::kind("heartbeat").unwrap()).await.unwrap();
    let message = loop {
        bus.publish(&subject(&["a"]), vec![7; VALUE_BYTES_MAX].into()).await.unwrap();
        if let Ok(message) = tokio::time::timeout(Duration::from_millis(200), messages.next()).await {
            break message.unwrap();
        }
    };
    assert_eq!(message.payload.len(), VALUE_BYTES_MAX);
    let refused = bus.respond(&message, Bytes::new()).await.unwrap_err();
    assert!(matches!(refused, BusError::NoReplyWanted { .. }), "{refused}");
}
