//! What the interface says of itself: `/openapi.json`, and the page at `/docs` that shows it.

use axum::Router;
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Components, Content, Ref, RefOr, Response,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{approvals, events, memory, node, runs, tools, webhooks};
use crate::serve::{House, access::login, health};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "gpak",
        description = "The local agent service: runs, what they wait for, and what they remember.\n\n\
            A POST with an `Idempotency-Key` is done once, and answered alike however often it is sent: \
            409 while it is being done, 422 if it says something else.",
        license(name = "Apache-2.0 OR MIT")
    ),
    modifiers(&Bearer),
    security(("bearer" = [])),
    tags(
        (name = "runs", description = "Tasks, from start to outcome"),
        (name = "approvals", description = "What runs wait for"),
        (name = "memory", description = "What is remembered across runs"),
        (name = "tools", description = "What runs can use"),
        (name = "webhooks", description = "Who is told of runs"),
        (name = "node", description = "The node itself"),
        (name = "access", description = "Who may do what"),
        (name = "operation", description = "Whether the service is well"),
    )
)]
struct Api;

/// Every request but those for a credential has one.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = api.components.get_or_insert_with(Components::new);
        components.add_security_scheme("bearer", scheme);
    }
}

/// The routes of the native interface, with their description.
pub fn router() -> Router<House> {
    let (router, api) = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(runs::create, runs::list))
        .routes(routes!(runs::get))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::resume))
        .routes(routes!(runs::fork))
        .routes(routes!(runs::undo))
        .routes(routes!(runs::say))
        .routes(routes!(events::events))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::decide))
        .routes(routes!(memory::search, memory::add))
        .routes(routes!(memory::forget))
        .routes(routes!(tools::tools))
        .routes(routes!(tools::models))
        .routes(routes!(webhooks::add, webhooks::list))
        .routes(routes!(webhooks::remove))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::retry))
        .routes(routes!(node::status))
        .routes(routes!(node::telemetry))
        .routes(routes!(node::override_))
        .routes(routes!(node::logs))
        .routes(routes!(login::login))
        .routes(routes!(login::refresh))
        .routes(routes!(login::logout))
        .routes(routes!(login::begin_session, login::end_session))
        .routes(routes!(login::me))
        .routes(routes!(login::list_users))
        .routes(routes!(login::list_keys, login::make_key))
        .routes(routes!(login::revoke_key))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .split_for_parts();
    let mut api = api;
    say_problems(&mut api);
    router.merge(SwaggerUi::new("/docs").url("/openapi.json", api))
}

/// What any request may come to, and that a problem is told as one.
fn say_problems(api: &mut utoipa::openapi::OpenApi) {
    const ANY: [(&str, &str); 8] = [
        ("400", "It makes no sense"),
        ("401", "It takes a credential"),
        (
            "403",
            "The credential, or the page it came from, does not reach so far",
        ),
        ("413", "It is too large"),
        ("422", "It can be read, but not done"),
        ("429", "That was too often, or the queue is full"),
        ("500", "The service failed"),
        ("503", "The service cannot do it now"),
    ];
    let content = || {
        let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
        RefOr::T(Content::new(Some(schema)))
    };
    for item in api.paths.paths.values_mut() {
        let all = [&mut item.get, &mut item.post, &mut item.delete];
        for operation in all.into_iter().flatten() {
            let responses = &mut operation.responses.responses;
            for (status, what) in ANY {
                let response = Response::new(what);
                responses
                    .entry(status.to_owned())
                    .or_insert(RefOr::T(response));
            }
            for (status, response) in responses {
                if let (true, RefOr::T(response)) = (status.as_str() >= "400", response) {
                    response.content.clear();
                    response
                        .content
                        .insert("application/problem+json".to_owned(), content());
                }
            }
        }
    }
}
