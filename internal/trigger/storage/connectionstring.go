package storage

import (
	"encoding/base64"
	"net/url"
	"strings"
)

// The emulator's one account, published in its documentation.
const (
	emulatorAccount = "devstoreaccount1"
	emulatorKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)

// fields are the names that connection strings may have, as clients look for them;
// people write them in any case.
var fields = []string{"DefaultEndpointsProtocol", "AccountName", "AccountKey", "EndpointSuffix", "SharedAccessSignature",
	"BlobEndpoint", "QueueEndpoint", "TableEndpoint", "FileEndpoint", "UseDevelopmentStorage", "DevelopmentStorageProxyUri"}

// connectionString checks a connection string and writes it the way clients read
// it, without repeating it in an error.
func (r reader) connectionString(text string) (Account, error) {
	parts := map[string]string{}
	for part := range strings.SplitSeq(strings.Trim(text, "; "), ";") {
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return r.bad("is not a connection string")
		}
		parts[spelled(name)] = strings.TrimSpace(value)
	}
	if strings.EqualFold(parts["UseDevelopmentStorage"], "true") {
		parts = r.emulator(parts["DevelopmentStorageProxyUri"])
	}
	if why := r.fault(parts); why != "" {
		return r.bad(why)
	}
	var b strings.Builder
	for _, name := range fields {
		if v := parts[name]; v != "" {
			b.WriteString(name + "=" + v + ";")
		}
	}
	return Account{Setting: r.prefix, ConnectionString: strings.TrimSuffix(b.String(), ";")}, nil
}

func (r reader) bad(why string) (Account, error) {
	return r.refuse("", why, "copy the connection string from the storage account's access keys, or use "+r.prefix+"__accountName with an identity")
}

func spelled(name string) string {
	name = strings.TrimSpace(name)
	for _, f := range fields {
		if strings.EqualFold(f, name) {
			return f
		}
	}
	return name
}

// emulator is the connection string of the storage emulator, which may be reached
// through another address.
func (r reader) emulator(proxy string) map[string]string {
	if proxy == "" {
		proxy = "http://127.0.0.1"
	}
	return map[string]string{"AccountName": emulatorAccount, "AccountKey": emulatorKey,
		r.service.Endpoint: strings.TrimRight(proxy, "/") + ":" + r.service.Port + "/" + emulatorAccount}
}

// fault tells what a connection string lacks for the service.
func (r reader) fault(parts map[string]string) string {
	endpoint := parts[r.service.Endpoint]
	if endpoint == "" && parts["AccountName"] == "" {
		return "has neither AccountName nor " + r.service.Endpoint
	}
	if endpoint != "" {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return "has a " + r.service.Endpoint + " that is not an address"
		}
	}
	if parts["SharedAccessSignature"] != "" && parts["AccountKey"] == "" {
		return ""
	}
	if key, err := base64.StdEncoding.DecodeString(parts["AccountKey"]); err != nil || len(key) == 0 || parts["AccountName"] == "" {
		return "has neither AccountName with a good AccountKey nor SharedAccessSignature"
	}
	return ""
}
