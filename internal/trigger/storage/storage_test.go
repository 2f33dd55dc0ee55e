package storage_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/latchkey/latchkey/internal/keystore/credential"
	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/trigger/storage"
)

const (
	key    = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	good   = "DefaultEndpointsProtocol=https;AccountName=orders;AccountKey=" + key + ";EndpointSuffix=core.windows.net"
	asRead = "DefaultEndpointsProtocol=https;AccountName=orders;AccountKey=" + key + ";EndpointSuffix=core.windows.net"
)

func of(settings map[string]string) func(string) string {
	return func(name string) string { return settings[name] }
}

func TestConnectionsAreFoundInTheDocumentedOrder(t *testing.T) {
	tests := map[string]struct {
		connection string
		settings   map[string]string
		want       storage.Account
	}{
		"none is the app's own storage": {settings: map[string]string{"AzureWebJobsStorage": good}, want: storage.Account{Setting: "AzureWebJobsStorage", ConnectionString: asRead}},
		"prefixed first": {
			connection: "Store", settings: map[string]string{"AzureWebJobsStore": good, "Store": "x"},
			want: storage.Account{Setting: "AzureWebJobsStore", ConnectionString: asRead},
		},
		"as it is named":        {connection: "Store", settings: map[string]string{"Store": good}, want: storage.Account{Setting: "Store", ConnectionString: asRead}},
		"among the connections": {connection: "Store", settings: map[string]string{"ConnectionStrings:Store": good}, want: storage.Account{Setting: "ConnectionStrings:Store", ConnectionString: asRead}},
		"fields in any case":    {connection: "Store", settings: map[string]string{"Store": "accountname=orders; ACCOUNTKEY=" + key + ";"}, want: storage.Account{Setting: "Store", ConnectionString: "AccountName=orders;AccountKey=" + key}},
		"emulator": {
			connection: "Store", settings: map[string]string{"Store": "UseDevelopmentStorage=true"},
			want: storage.Account{Setting: "Store", ConnectionString: "AccountName=devstoreaccount1;AccountKey=" + key + ";QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1"},
		},
		"emulator elsewhere": {
			connection: "Store", settings: map[string]string{"Store": "UseDevelopmentStorage=true;DevelopmentStorageProxyUri=http://azurite/"},
			want: storage.Account{Setting: "Store", ConnectionString: "AccountName=devstoreaccount1;AccountKey=" + key + ";QueueEndpoint=http://azurite:10001/devstoreaccount1"},
		},
		"signature": {
			connection: "Store", settings: map[string]string{"Store": "QueueEndpoint=https://orders.queue.core.windows.net;SharedAccessSignature=sv=2020&sig=abc%3D"},
			want: storage.Account{Setting: "Store", ConnectionString: "SharedAccessSignature=sv=2020&sig=abc%3D;QueueEndpoint=https://orders.queue.core.windows.net"},
		},
		"identity by account": {
			connection: "Store", settings: map[string]string{"Store__accountName": "orders"},
			want: storage.Account{Setting: "Store", ServiceURL: "https://orders.queue.core.windows.net"},
		},
		"managed identity by address": {
			connection: "Store", settings: map[string]string{"Store__queueServiceUri": "https://orders.queue.example.net/", "Store__credential": "managedidentity", "Store__clientId": "1"},
			want: storage.Account{Setting: "Store", ServiceURL: "https://orders.queue.example.net", Identity: credential.Request{Kind: credential.Managed, ClientID: "1"}},
		},
		"app registration": {
			connection: "Store", settings: map[string]string{"AzureWebJobsStore__serviceUri": "https://orders.queue.example.net", "AzureWebJobsStore__clientId": "1", "AzureWebJobsStore__tenantId": "2", "AzureWebJobsStore__clientSecret": "3"},
			want: storage.Account{Setting: "AzureWebJobsStore", ServiceURL: "https://orders.queue.example.net", Identity: credential.Request{Kind: credential.AppRegistration, ClientID: "1", TenantID: "2", ClientSecret: "3"}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := storage.Resolve(of(tt.settings), tt.connection, storage.Queues())
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Error(err, diff)
			}
		})
	}
}

func TestConnectionsThatCannotWorkNameTheSetting(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldA"
	tests := map[string]struct {
		settings map[string]string
		names    string
		kind     error
	}{
		"nothing":               {names: `connection "Store"`},
		"no pairs":              {settings: map[string]string{"Store": secret}, names: "setting Store "},
		"no account":            {settings: map[string]string{"Store": "AccountKey=" + secret}, names: "setting Store "},
		"a bad key":             {settings: map[string]string{"AzureWebJobsStore": "AccountName=orders;AccountKey=!" + secret}, names: "AzureWebJobsStore"},
		"a bad endpoint":        {settings: map[string]string{"Store": "AccountName=orders;AccountKey=" + key + ";QueueEndpoint=" + secret}, names: "QueueEndpoint"},
		"a bad account":         {settings: map[string]string{"Store__accountName": "Orders!"}, names: "Store__accountName"},
		"clear text":            {settings: map[string]string{"Store__queueServiceUri": "http://orders.example.net"}, names: "Store__queueServiceUri"},
		"a signature":           {settings: map[string]string{"Store__queueServiceUri": "https://orders.example.net?sig=" + secret}, names: "Store__queueServiceUri"},
		"two names":             {settings: map[string]string{"Store__accountName": "orders", "Store__clientId": "1", "Store__managedIdentityResourceId": "2"}, names: "Store__clientId"},
		"half a registration":   {settings: map[string]string{"Store__accountName": "orders", "Store__clientSecret": secret}, names: "Store__clientSecret"},
		"secret and managed":    {settings: map[string]string{"Store__accountName": "orders", "Store__clientSecret": secret, "Store__credential": "managedidentity"}, names: "Store__clientSecret"},
		"an unknown credential": {settings: map[string]string{"Store__accountName": "orders", "Store__credential": "magic"}, names: "Store__credential", kind: problem.Unsupported},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			kind := tt.kind
			if kind == nil {
				kind = problem.Invalid
			}
			_, err := storage.Resolve(of(tt.settings), "Store", storage.Queues())
			if !errors.Is(err, kind) || !strings.Contains(err.Error(), tt.names) || problem.NextOf(err) == "" {
				t.Fatal(err, problem.NextOf(err))
			}
			if strings.Contains(err.Error()+problem.NextOf(err), secret) {
				t.Error("the error has a secret")
			}
		})
	}
}

func FuzzConnectionString(f *testing.F) {
	f.Add(good)
	f.Add("UseDevelopmentStorage=true")
	f.Add("QueueEndpoint=https://a;SharedAccessSignature=sig=1")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := storage.Resolve(of(map[string]string{"Store": text}), "Store", storage.Queues())
		if err != nil {
			return
		}
		again, err := storage.Resolve(of(map[string]string{"Store": a.ConnectionString}), "Store", storage.Queues())
		if err != nil || again != a {
			t.Errorf("%q is read as %q, and that as %q (%v)", text, a.ConnectionString, again.ConnectionString, err)
		}
	})
}
