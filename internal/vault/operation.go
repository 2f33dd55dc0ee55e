package vault

// Operation is what can be done with secrets.
type Operation uint8

// Operations. Those about one secret are checked at the secret's scope, the others
// at the vault's.
const (
	Get          Operation = iota // a value, latest or of a version
	Set                           // a new version
	Update                        // attributes of a version
	List                          // names and attributes
	ListVersions                  // of one secret
	Delete
	GetDeleted
	ListDeleted
	Recover
	Purge
	Backup
	Restore
)

type operation struct {
	name, permission, action string
	one                      bool
}

// operations has what is fixed about each. It is never changed.
var operations = [...]operation{
	Get:          {"get", "get", "getSecret/action", true},
	Set:          {"set", "set", "setSecret/action", true},
	Update:       {"update", "set", "update/action", true},
	List:         {"list", "list", "readMetadata/action", false},
	ListVersions: {"list", "list", "readMetadata/action", true},
	Delete:       {"delete", "delete", "delete", true},
	GetDeleted:   {"get", "get", "readMetadata/action", true},
	ListDeleted:  {"list", "list", "readMetadata/action", false},
	Recover:      {"recover", "recover", "recover/action", true},
	Purge:        {"purge", "purge", "purge/action", true},
	Backup:       {"backup", "backup", "backup/action", true},
	Restore:      {"restore", "restore", "restore/action", false},
}

// String gives the operation's name: "get".
func (o Operation) String() string { return operations[o].name }

// Permission gives what an access policy must have among its permissions for
// secrets.
func (o Operation) Permission() string { return operations[o].permission }

// Action gives the data action that a role must have.
func (o Operation) Action() string { return Type + "/secrets/" + operations[o].action }

// AboutOne reports whether the operation is about one secret.
func (o Operation) AboutOne() bool { return operations[o].one }
