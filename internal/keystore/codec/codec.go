// Package codec owns the JSON form of key documents as the functions host keeps
// them in files and blobs: it reads both versions of the format and writes the
// newer one, member for member and indented as the host does. It seals and
// opens the values on the way. It does not know where the text is kept.
//
// Values sealed in Latchkey's own format cannot be read by a stock host, which
// would answer by making new keys: a folder or container shared with one needs
// the Data Protection sealer (AzureWebEncryptionKey) or none.
package codec

import (
	"github.com/latchkey/latchkey/internal/keystore"
	"github.com/latchkey/latchkey/internal/seal"
)

// Config says how documents are written.
type Config struct {
	// Sealer seals values on write and opens them on read; nil keeps them in clear.
	Sealer seal.Sealer
	// HostName and InstanceID are noted in each document for people who wonder
	// which app wrote it; empty is written as null. The stock host takes them
	// from WEBSITE_HOSTNAME and WEBSITE_INSTANCE_ID.
	HostName   string
	InstanceID string
	// App is the app's name, with its slot; "" is the one in HostName, if that is in a
	// domain of the platform. Documents that another app wrote, by the host name in
	// them, are refused: they are neither read nor replaced.
	App string
	// TakeOver is an app, or a host name, whose documents are taken for this app's.
	TakeOver string
}

// Codec reads and writes key documents. It is safe for concurrent use.
type Codec struct {
	cfg Config
}

// New gives a codec.
func New(cfg Config) *Codec {
	if cfg.Sealer == nil {
		cfg.Sealer = seal.None{}
	}
	return &Codec{cfg: cfg}
}

// source is what the host calls itself in a document.
const source = "runtime"

// Member names of the stored form.
const (
	memberMaster     = "masterKey"
	memberHostKeys   = "functionKeys"
	memberSystemKeys = "systemKeys"
	memberKeys       = "keys"
	memberOldHostKey = "functionKey" // version 0
	memberOldKey     = "key"         // version 0

	memberHostName   = "hostName"
	memberInstanceID = "instanceId"
	memberSource     = "source"
	memberKeyID      = "decryptionKeyId"

	memberName      = "name"
	memberValue     = "value"
	memberEncrypted = "encrypted"
)

// Lists a key can be in; part of the place its value is sealed for.
const (
	listMaster = "master"
	listKeys   = "key"
	listSystem = "system"
)

// place says where a value lives, so that a sealed value is good nowhere else.
// Names of documents and lists hold no zero byte, so places are unambiguous;
// key names ignore case everywhere, so they do here.
func place(doc keystore.Doc, list, name string) string {
	return "latchkey key\x00" + string(doc) + "\x00" + list + "\x00" + fold(name)
}
