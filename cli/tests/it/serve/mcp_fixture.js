// Tools that the conformance suite calls by name.
const test_simple_text = () => "This is a simple text response for testing.";

const test_error_handling = () => {
  throw new Error("This tool intentionally returns an error for testing");
};

const json_schema_2020_12_tool = (input) => input;

const by_region = ({ region }) => region;

// Neither is called: their effect takes leave, which the suite's client does not give.
const test_input_required_result_elicitation = () => "called";
const test_input_required_result_tampered_state = () => "called";
