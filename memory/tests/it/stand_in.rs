//! A server that does of Qdrant what gpak asks of it: it keeps points in memory and compares all of them.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use qdrant_client::qdrant::{
    self as q, collections_server::Collections, collections_server::CollectionsServer,
    points_server::Points, points_server::PointsServer,
};
use qdrant_client::qdrant::{
    Condition, Filter, Modifier, PointId, PointStruct, QueryPoints, ScoredPoint, Value, Vector,
    VectorOutput, VectorsOutput, condition::ConditionOneOf, r#match::MatchValue,
    point_id::PointIdOptions, points_selector::PointsSelectorOneOf, query::Variant, value::Kind,
    vector_input, vectors::VectorsOptions,
};
use tokio::{net::TcpListener, runtime::Runtime};
use tonic::{Request, Response, Status, service::Interceptor, transport::server::TcpIncoming};

type Answer<T> = Result<Response<T>, Status>;

/// How well a vector fits, if it is of the kind that is asked for.
type Score<'a> = Box<dyn Fn(&Vector) -> Option<f32> + 'a>;

/// What a server keeps, which outlives it.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    collections: HashMap<String, Collection>,
    /// Whether calls are never answered.
    hangs: bool,
}

struct Collection {
    made: q::CreateCollection,
    points: BTreeMap<String, PointStruct>,
    indexed: Vec<String>,
}

/// A server that runs until it is stopped.
pub struct Server {
    pub url: String,
    address: SocketAddr,
    /// Connections are tasks of it, which end with it.
    runtime: Option<Runtime>,
}

impl Kept {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Starts a server that wants that key, at any address.
    pub async fn serve(&self, key: Option<&str>) -> Server {
        self.serve_at(key, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Likewise at the address where another was.
    pub async fn serve_again(&self, before: Stopped) -> Server {
        self.serve_at(None, before.0).await
    }

    async fn serve_at(&self, key: Option<&str>, address: SocketAddr) -> Server {
        let key = Key(key.map(str::to_owned));
        let kept = self.clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let serving = runtime.spawn(async move {
            let listener = TcpListener::bind(address).await.unwrap();
            let address = listener.local_addr().unwrap();
            let serving = tonic::transport::Server::builder()
                .add_service(PointsServer::with_interceptor(kept.clone(), key.clone()))
                .add_service(CollectionsServer::with_interceptor(kept, key))
                .serve_with_incoming(TcpIncoming::from(listener));
            tokio::spawn(async move { serving.await.unwrap() });
            address
        });
        let address = serving.await.unwrap();
        Server {
            url: format!("http://{address}"),
            address,
            runtime: Some(runtime),
        }
    }

    /// Never answers again.
    pub fn hang(&self) {
        self.inner().hangs = true;
    }

    /// Loses everything.
    pub fn lose(&self) {
        self.inner().collections.clear();
    }

    /// All that is in it, as text.
    pub fn dump(&self) -> String {
        let inner = self.inner();
        let all = inner
            .collections
            .values()
            .map(|c| format!("{:?}", c.points));
        all.collect()
    }

    /// Points in the only collection.
    pub fn count(&self) -> usize {
        self.inner()
            .collections
            .values()
            .map(|c| c.points.len())
            .sum()
    }

    /// The keys of the payload that are indexed.
    pub fn indexed(&self) -> Vec<String> {
        let inner = self.inner();
        inner
            .collections
            .values()
            .flat_map(|c| c.indexed.clone())
            .collect()
    }

    /// A collection that somebody else made.
    pub fn make(&self, request: q::CreateCollection) {
        let name = request.collection_name.clone();
        let made = Collection {
            made: request,
            points: BTreeMap::new(),
            indexed: Vec::new(),
        };
        self.inner().collections.insert(name, made);
    }

    async fn with<T>(
        &self,
        name: &str,
        job: impl FnOnce(&mut Collection) -> T,
    ) -> Result<T, Status> {
        if self.inner().hangs {
            std::future::pending::<()>().await;
        }
        let mut inner = self.inner();
        let collection = inner.collections.get_mut(name);
        let missing = || Status::not_found(format!("Collection `{name}` doesn't exist!"));
        collection.map(job).ok_or_else(missing)
    }
}

/// Where a server was.
pub struct Stopped(SocketAddr);

impl Server {
    /// Stops it as if its machine had gone.
    pub fn stop(self) -> Stopped {
        Stopped(self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Key(Option<String>);

impl Interceptor for Key {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request
            .metadata()
            .get("api-key")
            .map(|key| key.to_str().unwrap());
        if self.0.is_some() && self.0.as_deref() != given {
            return Err(Status::unauthenticated("Must provide an API key"));
        }
        Ok(request)
    }
}

fn key(id: &PointId) -> String {
    match id.point_id_options.as_ref().unwrap() {
        PointIdOptions::Uuid(uuid) => uuid.clone(),
        PointIdOptions::Num(number) => panic!("{number} is no id of ours"),
    }
}

fn named(point: &PointStruct) -> &HashMap<String, Vector> {
    match point
        .vectors
        .as_ref()
        .unwrap()
        .vectors_options
        .as_ref()
        .unwrap()
    {
        VectorsOptions::Vectors(named) => &named.vectors,
        VectorsOptions::Vector(_) => panic!("a vector without a name"),
    }
}

#[allow(deprecated, reason = "what the client sends")]
fn sparse(vector: &Vector) -> Option<HashMap<u32, f32>> {
    if let Some(q::vector::Vector::Sparse(sparse)) = &vector.vector {
        return Some(pairs(&sparse.indices, &sparse.values));
    }
    let indices = vector.indices.as_ref()?;
    Some(pairs(&indices.data, &vector.data))
}

fn pairs(indices: &[u32], values: &[f32]) -> HashMap<u32, f32> {
    let pairs: HashMap<u32, f32> = indices
        .iter()
        .copied()
        .zip(values.iter().copied())
        .collect();
    assert_eq!(
        pairs.len(),
        indices.len(),
        "Qdrant refuses an index that comes twice"
    );
    pairs
}

#[allow(deprecated, reason = "what the client sends")]
fn dense(vector: &Vector) -> &[f32] {
    match &vector.vector {
        Some(q::vector::Vector::Dense(dense)) => &dense.data,
        _ => &vector.data,
    }
}

fn strings(value: &Value) -> Vec<String> {
    match value.kind.as_ref().unwrap() {
        Kind::StringValue(text) => vec![text.clone()],
        Kind::ListValue(list) => list.values.iter().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

fn admits(filter: &Option<Filter>, point: &PointStruct) -> bool {
    let Some(filter) = filter else { return true };
    assert!(filter.should.is_empty() && filter.must_not.is_empty() && filter.min_should.is_none());
    filter.must.iter().all(|condition| meets(condition, point))
}

fn meets(condition: &Condition, point: &PointStruct) -> bool {
    let Some(ConditionOneOf::Field(field)) = &condition.condition_one_of else {
        panic!("a condition that is not known: {condition:?}");
    };
    let Some(value) = point.payload.get(&field.key) else {
        return false;
    };
    if let Some(range) = &field.range {
        let Some(Kind::IntegerValue(number)) = value.kind else {
            return false;
        };
        let number = number as f64;
        return range.gte.is_none_or(|from| number >= from)
            && range.lte.is_none_or(|to| number <= to);
    }
    let has = strings(value);
    match field
        .r#match
        .as_ref()
        .unwrap()
        .match_value
        .as_ref()
        .unwrap()
    {
        MatchValue::Keyword(wanted) => has.contains(wanted),
        MatchValue::Keywords(wanted) => wanted.strings.iter().any(|one| has.contains(one)),
        other => panic!("a match that is not known: {other:?}"),
    }
}

impl Collection {
    /// Scores of the points that have anything to do with the query, best first.
    fn nearest(
        &self,
        query: &q::Query,
        using: &str,
        filter: &Option<Filter>,
        limit: u64,
    ) -> Vec<(String, f32)> {
        let Some(Variant::Nearest(input)) = &query.variant else {
            panic!("a query that is not known: {query:?}");
        };
        let score: Score<'_> = match input.variant.as_ref().unwrap() {
            vector_input::Variant::Dense(wanted) => Box::new(|vector| {
                let own = dense(vector);
                assert_eq!(own.len(), wanted.data.len());
                Some(own.iter().zip(&wanted.data).map(|(a, b)| a * b).sum())
            }),
            vector_input::Variant::Sparse(wanted) => {
                let wanted = self.rarities(using, &pairs(&wanted.indices, &wanted.values));
                Box::new(move |vector| {
                    let own = sparse(vector).unwrap();
                    let both: Vec<f32> = wanted
                        .iter()
                        .filter_map(|(i, w)| Some(own.get(i)? * w))
                        .collect();
                    (!both.is_empty()).then(|| both.iter().sum())
                })
            }
            other => panic!("an input that is not known: {other:?}"),
        };
        let admitted = self
            .points
            .iter()
            .filter(|(_, point)| admits(filter, point));
        let mut all: Vec<(String, f32)> = admitted
            .filter_map(|(id, point)| Some((id.clone(), score(named(point).get(using)?)?)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(limit as usize);
        all
    }

    /// Weights of terms times how rare each is.
    fn rarities(&self, using: &str, wanted: &HashMap<u32, f32>) -> HashMap<u32, f32> {
        let params = &self.made.sparse_vectors_config.as_ref().unwrap().map[using];
        assert_eq!(params.modifier, Some(Modifier::Idf as i32));
        let all: Vec<HashMap<u32, f32>> = self
            .points
            .values()
            .filter_map(|p| sparse(named(p).get(using)?))
            .collect();
        let rarity = |index: &u32| {
            let having = all.iter().filter(|own| own.contains_key(index)).count() as f32;
            (1.0 + (all.len() as f32 - having + 0.5) / (having + 0.5)).ln()
        };
        wanted.iter().map(|(i, w)| (*i, w * rarity(i))).collect()
    }

    fn query(&self, request: &QueryPoints) -> Vec<ScoredPoint> {
        let limit = request.limit.unwrap();
        let query = request.query.as_ref().unwrap();
        let found = if request.prefetch.is_empty() {
            self.nearest(
                query,
                request.using.as_ref().unwrap(),
                &request.filter,
                limit,
            )
        } else {
            assert!(matches!(query.variant, Some(Variant::Fusion(_))));
            let mut sums: BTreeMap<String, f32> = BTreeMap::new();
            for look in &request.prefetch {
                let found = self.nearest(
                    look.query.as_ref().unwrap(),
                    look.using.as_ref().unwrap(),
                    &look.filter,
                    look.limit.unwrap(),
                );
                for ((id, _), rank) in found.into_iter().zip(2..) {
                    *sums.entry(id).or_default() += 1.0 / rank as f32;
                }
            }
            let mut all: Vec<(String, f32)> = sums.into_iter().collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            all.truncate(limit as usize);
            all
        };
        let with = request.with_payload.is_some();
        found
            .into_iter()
            .map(|(id, score)| self.scored(&id, score, with))
            .collect()
    }

    fn scored(&self, id: &str, score: f32, with: bool) -> ScoredPoint {
        let point = &self.points[id];
        let output = |vector: &Vector| VectorOutput {
            vector: Some(q::vector_output::Vector::Dense(q::DenseVector {
                data: dense(vector).to_vec(),
            })),
            ..VectorOutput::default()
        };
        let vectors = named(point)
            .iter()
            .filter(|(_, vector)| sparse(vector).is_none());
        let vectors = q::NamedVectorsOutput {
            vectors: vectors
                .map(|(name, vector)| (name.clone(), output(vector)))
                .collect(),
        };
        ScoredPoint {
            id: point.id.clone(),
            payload: if with {
                point.payload.clone()
            } else {
                HashMap::new()
            },
            score,
            vectors: with.then_some(VectorsOutput {
                vectors_options: Some(q::vectors_output::VectorsOptions::Vectors(vectors)),
            }),
            ..ScoredPoint::default()
        }
    }
}

/// Implements a service: calls that are known, and others that are refused.
macro_rules! service {
    ($service:ident { $($known:tt)* } $($name:ident($request:ident) -> $reply:ident,)*) => {
        #[tonic::async_trait]
        impl $service for Kept {
            $($known)*
            $(async fn $name(&self, _: Request<q::$request>) -> Answer<q::$reply> {
                Err(Status::unimplemented(stringify!($name)))
            })*
        }
    };
}

fn done() -> Answer<q::PointsOperationResponse> {
    Ok(Response::new(q::PointsOperationResponse::default()))
}

service! { Points {
    async fn upsert(&self, request: Request<q::UpsertPoints>) -> Answer<q::PointsOperationResponse> {
        let request = request.into_inner();
        assert_eq!(request.wait, Some(true), "what is not waited for is not there");
        let points = request.points.into_iter().map(|p| (key(p.id.as_ref().unwrap()), p));
        self.with(&request.collection_name, |all| all.points.extend(points)).await?;
        done()
    }

    async fn delete(&self, request: Request<q::DeletePoints>) -> Answer<q::PointsOperationResponse> {
        let request = request.into_inner();
        let Some(PointsSelectorOneOf::Points(list)) =
            request.points.and_then(|points| points.points_selector_one_of)
        else {
            return Err(Status::invalid_argument("no ids"));
        };
        self.with(&request.collection_name, |all| {
            list.ids.iter().for_each(|id| drop(all.points.remove(&key(id))));
        })
        .await?;
        done()
    }

    async fn get(&self, request: Request<q::GetPoints>) -> Answer<q::GetResponse> {
        let request = request.into_inner();
        let get = |all: &mut Collection| {
            let found = request.ids.iter().filter_map(|id| all.points.get(&key(id)));
            let point = |point: &PointStruct| q::RetrievedPoint {
                id: point.id.clone(),
                payload: point.payload.clone(),
                ..q::RetrievedPoint::default()
            };
            found.map(point).collect()
        };
        let result = self.with(&request.collection_name, get).await?;
        Ok(Response::new(q::GetResponse { result, ..q::GetResponse::default() }))
    }

    async fn create_field_index(
        &self,
        request: Request<q::CreateFieldIndexCollection>,
    ) -> Answer<q::PointsOperationResponse> {
        let request = request.into_inner();
        self.with(&request.collection_name, |all| all.indexed.push(request.field_name)).await?;
        done()
    }

    async fn query_batch(&self, request: Request<q::QueryBatchPoints>) -> Answer<q::QueryBatchResponse> {
        let request = request.into_inner();
        let answer = |all: &mut Collection| {
            let one = |query: &QueryPoints| q::BatchResult { result: all.query(query) };
            request.query_points.iter().map(one).collect()
        };
        let result = self.with(&request.collection_name, answer).await?;
        Ok(Response::new(q::QueryBatchResponse { result, ..q::QueryBatchResponse::default() }))
    }
}
    update_vectors(UpdatePointVectors) -> PointsOperationResponse,
    delete_vectors(DeletePointVectors) -> PointsOperationResponse,
    set_payload(SetPayloadPoints) -> PointsOperationResponse,
    overwrite_payload(SetPayloadPoints) -> PointsOperationResponse,
    delete_payload(DeletePayloadPoints) -> PointsOperationResponse,
    clear_payload(ClearPayloadPoints) -> PointsOperationResponse,
    delete_field_index(DeleteFieldIndexCollection) -> PointsOperationResponse,
    create_vector_name(CreateVectorNameRequest) -> PointsOperationResponse,
    delete_vector_name(DeleteVectorNameRequest) -> PointsOperationResponse,
    search(SearchPoints) -> SearchResponse,
    search_batch(SearchBatchPoints) -> SearchBatchResponse,
    search_groups(SearchPointGroups) -> SearchGroupsResponse,
    scroll(ScrollPoints) -> ScrollResponse,
    recommend(RecommendPoints) -> RecommendResponse,
    recommend_batch(RecommendBatchPoints) -> RecommendBatchResponse,
    recommend_groups(RecommendPointGroups) -> RecommendGroupsResponse,
    discover(DiscoverPoints) -> DiscoverResponse,
    discover_batch(DiscoverBatchPoints) -> DiscoverBatchResponse,
    count(CountPoints) -> CountResponse,
    update_batch(UpdateBatchPoints) -> UpdateBatchResponse,
    query(QueryPoints) -> QueryResponse,
    query_groups(QueryPointGroups) -> QueryGroupsResponse,
    facet(FacetCounts) -> FacetResponse,
    search_matrix_pairs(SearchMatrixPoints) -> SearchMatrixPairsResponse,
    search_matrix_offsets(SearchMatrixPoints) -> SearchMatrixOffsetsResponse,
}

service! { Collections {
    async fn create(
        &self,
        request: Request<q::CreateCollection>,
    ) -> Answer<q::CollectionOperationResponse> {
        self.make(request.into_inner());
        Ok(Response::new(q::CollectionOperationResponse { result: true, time: 0.0 }))
    }

    async fn collection_exists(
        &self,
        request: Request<q::CollectionExistsRequest>,
    ) -> Answer<q::CollectionExistsResponse> {
        if self.inner().hangs {
            std::future::pending::<()>().await;
        }
        let exists = self.inner().collections.contains_key(&request.into_inner().collection_name);
        let result = Some(q::CollectionExists { exists });
        Ok(Response::new(q::CollectionExistsResponse { result, time: 0.0 }))
    }

    async fn get(
        &self,
        request: Request<q::GetCollectionInfoRequest>,
    ) -> Answer<q::GetCollectionInfoResponse> {
        let params = |all: &mut Collection| q::CollectionParams {
            vectors_config: all.made.vectors_config.clone(),
            sparse_vectors_config: all.made.sparse_vectors_config.clone(),
            ..q::CollectionParams::default()
        };
        let params = self.with(&request.into_inner().collection_name, params).await?;
        let config = q::CollectionConfig { params: Some(params), ..q::CollectionConfig::default() };
        let info = q::CollectionInfo { config: Some(config), ..q::CollectionInfo::default() };
        Ok(Response::new(q::GetCollectionInfoResponse { result: Some(info), time: 0.0 }))
    }
}
    list(ListCollectionsRequest) -> ListCollectionsResponse,
    update(UpdateCollection) -> CollectionOperationResponse,
    delete(DeleteCollection) -> CollectionOperationResponse,
    update_aliases(ChangeAliases) -> CollectionOperationResponse,
    list_collection_aliases(ListCollectionAliasesRequest) -> ListAliasesResponse,
    list_aliases(ListAliasesRequest) -> ListAliasesResponse,
    collection_cluster_info(CollectionClusterInfoRequest) -> CollectionClusterInfoResponse,
    update_collection_cluster_setup(UpdateCollectionClusterSetupRequest) -> UpdateCollectionClusterSetupResponse,
    create_shard_key(CreateShardKeyRequest) -> CreateShardKeyResponse,
    delete_shard_key(DeleteShardKeyRequest) -> DeleteShardKeyResponse,
    list_shard_keys(ListShardKeysRequest) -> ListShardKeysResponse,
}
