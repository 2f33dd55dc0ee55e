package rpc

import (
	"maps"

	"github.com/latchkey/latchkey/internal/worker/rpc/wire"
)

// capabilities say what a process understands; each counts when its text is not
// empty.
type capabilities struct {
	all map[string]string

	bodyOnly        bool // RpcHttpBodyOnly: body, without rawBody
	rawBytes        bool // RawHttpBodyBytes: bodies always as bytes
	noRequest       bool // RpcHttpTriggerMetadataRemoved: the request is not in the metadata
	skipEmpty       bool // IgnoreEmptyValuedRpcHttpHeaders
	nullable        bool // UseNullableValueDictionaryForHttp
	collections     bool // TypedDataCollection
	emptyEntries    bool // IncludeEmptyEntriesInMessagePayload
	status          bool // WorkerStatus
	terminate       bool // HandlesWorkerTerminateMessage
	cancel          bool // HandlesInvocationCancelMessage
	warmup          bool // HandlesWorkerWarmupMessage
	loadCollection  bool // SupportsLoadResponseCollection, or its older name
	routeParameters bool // RequiresRouteParameters
	userException   bool // EnableUserCodeException
	httpURI         string
}

func newCapabilities(all map[string]string) capabilities {
	has := func(name string) bool { return all[name] != "" }
	return capabilities{
		all:      all,
		bodyOnly: has("RpcHttpBodyOnly"), rawBytes: has("RawHttpBodyBytes"), noRequest: has("RpcHttpTriggerMetadataRemoved"),
		skipEmpty: has("IgnoreEmptyValuedRpcHttpHeaders"), nullable: has("UseNullableValueDictionaryForHttp"),
		collections: has("TypedDataCollection"), emptyEntries: has("IncludeEmptyEntriesInMessagePayload"),
		status: has("WorkerStatus"), terminate: has("HandlesWorkerTerminateMessage"), cancel: has("HandlesInvocationCancelMessage"),
		warmup: has("HandlesWorkerWarmupMessage"), loadCollection: has("SupportsLoadResponseCollection") || has("AcceptsListOfFunctionLoadRequests"),
		routeParameters: has("RequiresRouteParameters"), userException: has("EnableUserCodeException"), httpURI: all["HttpUri"],
	}
}

// updated gives the capabilities after a change of environment.
func (c capabilities) updated(changes map[string]string, strategy wire.FunctionEnvironmentReloadResponse_CapabilitiesUpdateStrategy) capabilities {
	if strategy == wire.FunctionEnvironmentReloadResponse_replace {
		return newCapabilities(changes)
	}
	all := maps.Clone(c.all)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, changes)
	return newCapabilities(all)
}

// setCapabilities takes down what the process understands from now on.
func (c *channel) setCapabilities(caps capabilities) error {
	var p *proxy
	if caps.httpURI != "" {
		var err error
		if p, err = newProxy(caps.httpURI, c.w.cfg.Credential); err != nil {
			return err
		}
	}
	c.mu.Lock()
	old := c.proxy
	c.caps, c.proxy = caps, p
	c.mu.Unlock()
	if old != nil {
		old.close()
	}
	return nil
}
